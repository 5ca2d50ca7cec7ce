"""The compiled core under gcc's sanitizers: all transcripts, the attacks on TLS, and input that nobody would send."""
