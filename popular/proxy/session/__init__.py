"""One session of `pproxy`: a machine that decides (`machine/`), and the session that does it (`session.py`).

    beginner        begins sessions: what the acceptor calls for each connection
    bulk_relay      what a relay has beside: large mails, and what a cut would cost
    events          what a session hears from its parts
    header_reader   PROXY headers: read from a load balancer, made for a backend
    login_parts     what a session has open before the relay
    optional_steps  the session that is made: a plain one, with PROXY header, TLS, mail check, lease, hold
    relay           joins client and backend, and holds back whoever is faster
    row             its row of the table, its share of the counters of octets
    rules           what a config says of the sessions of a virtual server
    session         a plain session: carries out the verbs of its machine, and tells it what came of them
    session_log     its lines of the log
    tapped_relay    a relay that lets others hear what passes
    who             whom it is about

Its rooms:

    backend         a backend as sessions meet it: what is known of it, connection, login, mail check
    explain         what would become of a login, by playing it on the machine
    limits          limits on logins and guesses, here and in a cluster; what the operator has ordered of logins
    machine         what a session decides
    shared          what a worker's sessions share: modules, news, reports
    tracing         the flight recorder: who is traced, and what of him is written

Contracts: `SessionEvents` (events) is kept by `Session`; `PollMemory` (who) by `Absorber` (shared/absorber.py), and for
`explain` by `SupposedPolls` (explain/foretold.py).
"""
