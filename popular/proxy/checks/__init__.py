"""Whether backends are well: what the helper process of pproxy does (docs/decisions/10-backends.md)."""
