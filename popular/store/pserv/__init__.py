"""`pserv`: the storage server, which opens mailboxes to proxies that have authenticated their users (XPOP).

    capabilities  the answer to CAPA
    commands      its commands
    endings       why a session is over
    machine       a session as a machine: octets and facts in, verbs out
    mailbox       the mailbox of a session, seen from the event loop
    metrics       its metrics
    outgoing      a message on its way out
    phases        the phases, and which may follow which
    program       the program that the supervisor runs
    row           a session's row of the table
    server        the address that it listens on
    service       one configuration, ready to serve
    session       carries out the verbs of its machine
    session_log   its lines of the log
    variables     its variables
    verbs         what the machine can have done

Contract: `TellMachine` (mailbox) is kept by `Session`.
"""
