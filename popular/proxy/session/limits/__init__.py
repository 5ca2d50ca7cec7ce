"""Limits on logins: what is counted, how fast somebody may guess, and the leases of a cluster (`cluster.py`)."""
