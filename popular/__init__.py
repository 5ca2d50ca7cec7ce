"""POP3: the protocol, the proxy session, the authentication modules, the storage server.

Words of this project, used without synonyms:

    vserv, backend, module   a virtual server, a storage server, an authentication module ("PDM" in POPular 1.5)
    session                  one client connection from accept to close; it has a token, a row and exactly one ending
    machine                  the pure half of a session: octets and facts in, verbs called; it decides, and the other
                             half (`session.py`) carries the verbs out
    verb                     what a machine has its session do: send, ask, connect, relay, finish, …
    phase                    what a session is doing; a table says which may follow which
    ending                   one of the listed reasons why a session is over
    route                    where a user's mailbox is: backend, and mailbox or backend user name

ARCHITECTURE.md follows one login through the files: `worker/acceptor.py` (accepts) → `proxy/session/session.py`
(carries out) ⇄ `authorization.py`, `backend_side.py` and `machine.py` (decide: classes of the
machine) → `pdm/chain.py` (who is this?) → `backend_login.py` → `relay.py`; and where an empty mailbox is shown instead.
"""

from supervisor import compiled

__all__ = ["compiled"]  # first of all, see there
