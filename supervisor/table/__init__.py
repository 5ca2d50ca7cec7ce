"""The session table: one POSIX shared-memory segment, readable by anybody who may open it.

    layout.py    where everything stands, and the description that travels with it
    rows.py      writing and reading one row: a cell that checks, and its draft while it is written
    segment.py   making, attaching and reading the segment
    tokens.py    the right to hold a row, and finding tokens that died with a worker

No lock anywhere: one writer for each row and each block, and readers that check what they read.
"""
