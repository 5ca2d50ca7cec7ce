"""What all programs stand on: loop, signals, log, files, rights, forking. Knows no other room but the table.

    birth        gives birth to a child of the master
    daemon       going to the background
    descriptors  the descriptors of this process
    directory    a directory that others may be able to write
    fault        what may be told of an error of ours
    httpaddress  where an HTTP server of ours listens
    httptoken    by which a web client sees names in full
    instances    which instances a run directory holds
    lineend      whether a text file is there to its end
    load         levels of load and sessions
    log          the log
    logfile      its file
    logline      its entries as lines
    logroom      lines in shared memory, not yet written
    loop         the master's loop
    messages     the messages of the log, one row each
    oftenlog     the part of the log that every session goes through
    plural       numbers of things, as people say them
    rights       gives up root
    rundir       lock, pid file, control socket, state file
    signals      pending signals
    sparingly    how often something is told
    standard     standard descriptors that are closed
    statedir     what the operator has ordered outlives the program there
    statespace   how much it may hold
    takeover     a newer instance waits for what the one before leaves
    throttle     how many lines of one kind a minute
    together     several faults as one text

Contract: `HasFileno` (loop) is kept by sockets and pipes.
"""
