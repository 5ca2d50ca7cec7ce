"""`pserv`: the storage server, which opens mailboxes to proxies that have authenticated their users (XPOP)."""
