"""`ringd`, which keeps listening sockets while no program runs, and what the programs speak to it with.

client  a `Source` that never blocks: sockets lent by ringd
keeper  who holds which socket
link    one end of a connection: packets and descriptors in and out
main    its start
wire    what both sides say, as octets
"""
