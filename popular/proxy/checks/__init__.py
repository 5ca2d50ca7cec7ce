"""Whether backends are well: what the helper process of pproxy does (docs/decisions/10-backends.md).

canary    one check of a backend
checker   the helper of `pproxy`
drift     capabilities that a virtual server announces and a backend lacks
reaching  the connection for a check
rhythm    when a backend is checked, and what is made of several checks
"""
