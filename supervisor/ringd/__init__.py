"""`ringd`, which keeps listening sockets while no program runs, and what the programs speak to it with."""
