"""One session of `pproxy`: a machine that decides (`machine.py`), and the session that does it (`session.py`).

    beginner       begins sessions: what the acceptor calls for each connection
    events         what a session hears from its parts
    header_reader  PROXY headers: read from a load balancer, made for a backend
    login_parts    what a session has open before the relay
    relay          joins client and backend, and holds back whoever is faster
    relay_pair     the two connections of a relay: large mails, and how they end
    row            its row of the table, its share of the counters of octets
    rules          what a config says of the sessions of a virtual server
    session        carries out the verbs of its machine, and tells it what came of them
    session_life   how a session begins, waits, shows itself and ends
    session_log    its lines of the log
    tapped_relay   a relay that lets others hear what passes
    who            whom it is about

Contracts: `SessionEvents` (events) is kept by `Session`; `PollMemory` (who) by `Absorber` (shared/absorber.py), and for
`explain` by `SupposedPolls` (explain/foretold.py).
"""
