"""POP3: the protocol, the proxy session, the authentication modules, the storage server.

Words of this project, used without synonyms:

    vserv, backend, module   a virtual server, a storage server, an authentication module (the manual's "PDM")
    session                  one client connection from accept to close; it has a token, a row and exactly one ending
    machine                  the pure half of a session: bytes and facts in, actions out
    driver                   the other half: does the actions, decides nothing
    ending                   one of the listed reasons why a session is over
    route                    where a user's mailbox is: backend, and mailbox or backend user name

The way of one session through the files: `proxy/program.py` (what the supervisor runs) → `proxy/service.py` (one
config, ready to serve) → `proxy/session.py` (the driver) ⇄ `proxy/machine.py` (the machine) → `pdm/chain.py` (who is
this?) → `proxy/mailcheck.py` (is there mail?) → `proxy/backend_login.py` → `proxy/relay.py`, or, for an empty mailbox,
`protocol/transaction.py`.
"""

from supervisor import compiled

__all__ = ["compiled"]  # first of all, see there
