"""What a session costs, for pproxy and its peers. `README.md` tells how to read it; `python -m tests.bench` runs it."""
