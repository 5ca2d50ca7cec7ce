"""The session table: one POSIX shared-memory segment, readable by anybody who may open it.

    affected    how many different users a thing's failures are about
    blocked     networks that are blocked
    contents    what a table holds, as rows
    distinct    how many different ones there were
    header      what a reader makes of the first octets
    indexes     which configured thing counts where
    layout      where everything stands
    names       the names of the indexes
    notes       the last things noted for the operator
    records     what a worker found out about a configured thing
    remembered  what all workers remember together
    rows        one row: a cell that checks, and its draft
    segment     making, attaching and reading the segment
    sightings   what workers have seen users do
    tokens      the right to hold a row, and finding lost ones

No lock anywhere: one writer for each row and each block, and readers that check what they read.
"""
