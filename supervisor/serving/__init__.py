"""What a program has at hand in a worker: event loop, wheel of deadlines, counters, and its rows of the table.

context     `WorkerContext`: what a program has at hand in a worker
counters    where it counts
eventloop   the event loop
network     which clients count as one
refcount    who holds a thing that is retired one day
session     a session as the supervisor knows it
threadpool  threads for what blocks: one that cannot be started is told, and its work never done
turns       whose turn it is, over networks
wheel       coarse deadlines for very many things
"""
