"""Keeps a program alive: master, worker slots, listening sockets, session table, control language.

It knows nothing of POP3. Its words:

    program     what it runs: a name, variables, commands, counters, and how a worker serves one connection
    master      the parent process: single-threaded, one `selectors` loop, never blocks, holds no user's data
    slot        a place for a worker, 0…n-1; owns its listening sockets
    worker      the process that sits in a slot; a successor gets the same slot
    session     one client connection from accept to close
    token       the right to hold row i of the table; without a token nobody accepts
    row         a fixed-size record in shared memory with one writer at a time
    config      one frozen value with a generation number; replaced whole, never edited
    command     one line of the control language
    lifeline    the socket pair between master and worker: configs and what is to be done down, acknowledgements up

Read `program.py` first (the contract with a program), then `master/master.py`, `worker/worker.py`, `table/`,
`control/`. ARCHITECTURE.md tells which room runs in which process.
"""

from supervisor import compiled

__all__ = ["compiled"]  # first of all: it decides in which form the modules are found that follow
