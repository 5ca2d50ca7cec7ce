"""The process that serves: accepts, counts, keeps deadlines; one in each slot.

acceptor   accepts: as long as it gets tokens and the master allows it
displacer  ends silent sessions where all are taken and clients wait
heartbeat  shows that the loop turns, and how late it was
room       for how many sessions there are descriptors
sweeper    ends whom the operator wants gone, as far as it costs them little
waiters    clients who came to a port that is gone while no session was free
worker     obeys the lifeline
"""
