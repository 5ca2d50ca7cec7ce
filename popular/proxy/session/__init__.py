"""One session of `pproxy`: a machine that decides (`machine.py`), and the session that does it (`session.py`)."""
