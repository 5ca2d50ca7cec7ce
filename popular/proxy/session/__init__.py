"""One session of `pproxy`: a machine that decides (`machine.py`), and a driver that does (`session.py`)."""
