"""A backend as sessions meet it: what is known of it, whom it admits, the connection, the login, the mail check.

    announced           what a backend announces
    backend_admission   whom a backend admits, by who waits for it and is at it
    backend_auth        the login otherwise than by USER and PASS
    backend_connection  its connection until it is joined with the client
    backend_health      how well it is, and what became of logins there
    backend_login       the dialogue of the login, as a machine
    backend_race        its connection where it has several addresses
    backend_runtime     all that sessions need of one backend under one config
    breaker             when it counts as down, and how it comes back
    contracts           what the machine may ask of it
    full_backend        its health with a bound on who is there
    improper            what was said instead of a proper reply, for people
    incommon            what all backends offer in common
    inquiry             asks what it announces
    mail_race           the mail check by a socket of its own, at several addresses
    mailcheck           the mail check
    ourselves           where our own virtual servers listen: nobody is sent there
    reach               which address is tried first
    referral            another server that it names
    rejections          why it rejects a login: whose cause that is

Contracts, both asked by the machine: `BackendKnowledge` is kept by `Announced`; `HealthKnowledge` by `BackendHealth`
and `BoundedHealth` (full_backend), and for `explain` by `ForetoldHealth` (explain/foretold.py).
"""
