"""The log messages of POP3, one row each.

Those of the supervisor stand in supervisor/runtime/messages.py; numbers are never reused.
"""

from supervisor.runtime.messages import EACH_MINUTE, Message, messages_in

NULL_BYTE_IN_INPUT = Message(
    0x0035,
    "ADM",
    "null_byte_in_input",
    "A NUL octet came in; the connection, or the packet, was dropped unanswered.",
    most=EACH_MINUTE,
)
SHUTDOWN = Message(0x0078, "INF", "shutdown", "pcheckd ends on a signal.")

SESSION_END = Message(0x0300, "INF", "session_end", "A session is over: its whole story.")
LOGIN_FAILED = Message(
    0x0301,
    "ERR",
    "login_failed",
    "A client gave a user name and password that are not right; `reason` is there where a module says more of it.",
)
MODULE_FAILED = Message(
    0x0302, "ADM", "module_failed", "A module could not tell whether a user may come in.", most=EACH_MINUTE
)
BACKEND_FAILED = Message(
    0x0303,
    "ADM",
    "backend_failed",
    "A backend could not be reached, was too slow, or refused.",
    most=EACH_MINUTE,
    by="backend",
)
NO_BACKEND = Message(
    0x0304,
    "ADM",
    "no_backend",
    "A module or `fallback` names a backend that is not configured.",
    most=EACH_MINUTE,
    by="backend",
)
BAD_MAILBOX = Message(
    0x0305,
    "ERR",
    "bad_mailbox",
    "A user's mailbox name has characters that a mailbox must not have; see TARGET of the module that found him.",
    most=EACH_MINUTE,
)
CHECK_FAILED = Message(
    0x0306,
    "ADM",
    "check_failed",
    "A mail check was not answered; the backend was connected to instead.",
    most=EACH_MINUTE,
    by="backend",
)
TLS_FAILED = Message(
    0x0307,
    "ERR",
    "tls_failed",
    "A TLS handshake with a client failed; `why` is the word of the counter tls_failures.",
    most=EACH_MINUTE,
    by="vserv",
)
POOL_FULL = Message(0x0308, "ADM", "pool_full", "More logins are waiting for modules than may wait.")
LOGIN_CANCELLED = Message(
    0x0309,
    "ERR",
    "login_cancelled",
    "A client has proven by SCRAM that it has a user's password, and gone without logging in: it does not believe our "
    "own proof, its connection broke, or it only wanted to know whether the password is right.",
)
CERTIFICATE_TAKEN = Message(0x0320, "INF", "certificate_taken", "A certificate is in use from now on.")
CERTIFICATE_GONE = Message(0x0321, "INF", "certificate_gone", "The file of a certificate is gone, and so is it.")
CERTIFICATE_FAULT = Message(
    0x0322,
    "ADM",
    "certificate_fault",
    "A file of certificates is not usable, or its certificate is not valid; a valid one that was read of it before "
    "stays in use.",
)
AUTHORITIES_TAKEN = Message(
    0x0323, "INF", "authorities_taken", "CA certificates of clientca or tlsca count from now on as the file has them."
)
MASTER_LOGIN = Message(
    0x0330, "ADM", "master_login", "A module vouched for a user whose own password it was not: a master password, say."
)
NO_SECRET = Message(
    0x0331,
    "ADM",
    "no_secret",
    "A login has nothing to show to the user's POP3 backend: a master password, say, where the module that found him "
    "has no SECRET for him, or a token where the backend's `login` wants a password; or it asks for none, and the user "
    "was moved there, on whose password no module has looked.",
    most=EACH_MINUTE,
    by="backend",
)
LOGIN_DEFERRED = Message(
    0x0332,
    "INF",
    "login_deferred",
    "A backend put a login off: the mailbox is in use, or was asked too soon.",
    most=EACH_MINUTE,
    by="backend",
)
NO_RESOURCES = Message(
    0x0333,
    "ADM",
    "no_resources",
    "A login failed because we have no descriptor, memory or port left; no backend is to blame.",
    most=EACH_MINUTE,
)
NOT_PIPELINED = Message(
    0x0334,
    "ADM",
    "not_pipelined",
    "A backend announces PIPELINING, and did not answer USER and PASS that came in one piece as it should: it gets one "
    "after the other for ten minutes.",
)
BAD_HEADER = Message(
    0x0310,
    "ERR",
    "bad_header",
    "A PROXY header was expected, and did not come, or not from a trusted address.",
    most=EACH_MINUTE,
    by="vserv",
)
MODULE_GIVEN_UP = Message(
    0x0340,
    "ADM",
    "module_given_up",
    "A module has failed so many times in a row (`pdm conf ID breaker`) that this worker does not ask it for a while.",
)
MODULE_BACK = Message(0x0341, "ADM", "module_back", "A module that was not asked for a while answers again.")
MODULE_ERROR = Message(
    0x0342,
    "ADM",
    "module_error",
    "A module raised an error that is none of the contract's: a fault of the module. Once a minute is told of it.",
)
MODULE_DIFFERS = Message(
    0x0343,
    "INF",
    "module_differs",
    "A module on trial (`pdm conf ID shadow`) says something else of a user than the others. Once a minute is told.",
)

SECRET_TAKEN = Message(
    0x0335, "INF", "secret_taken", "The password of a backend's master user counts from now on as its file has it."
)
SECRET_FAULT = Message(
    0x0336,
    "ADM",
    "secret_fault",
    "The file with the password of a backend's master user cannot be used; what was read of it before stays in use.",
)

REFERRED = Message(
    0x0337, "INF", "referred", "A backend referred a user to another server, where he is logged in instead."
)
LOGIN_LIMITED = Message(
    0x0350,
    "INF",
    "login_limited",
    "A limit did not let somebody in, or has him asked to come again; `limit` is the name of its variable. This is no "
    "wrong login.",
    most=EACH_MINUTE,
    by="vserv",
)
CLUSTER_LOST = Message(
    0x0351,
    "ADM",
    "cluster_lost",
    "The server that `cluster` names does not answer this worker: limits count locally until it does.",
    most=EACH_MINUTE,
)
CLUSTER_BACK = Message(0x0352, "INF", "cluster_back", "The server of the cluster answers again.")
CLUSTER_NAMESAKE = Message(
    0x0353,
    "ADM",
    "cluster_namesake",
    "Another proxy of the cluster has our name (`sidprefix`): as long as that is so no user is moved, and sessions of "
    "the two may count as one. `host` is where it runs.",
    most=EACH_MINUTE,
)
CLUSTER_CLOCK = Message(
    0x0355,
    "ADM",
    "cluster_clock",
    "The clock of this host is ahead of that of the cluster's server by `seconds` (below 0: behind it). What was "
    "ordered until a time ends that much too early here, or too late.",
    most=1,
)
CLUSTER_ORDERS_IGNORED = Message(
    0x0354,
    "ADM",
    "cluster_orders_ignored",
    "More than `most` orders lie at the server of the cluster, more than operators say: somebody else has written "
    "there. None of them is looked at until there are fewer; sessions are counted as ever.",
    most=EACH_MINUTE,
)

BACKEND_DOWN = Message(
    0x0360,
    "ADM",
    "backend_down",
    "A backend counts as down: `by` says who found it so (logins of several networks, or the check), `reason` why. Its "
    "users are told at once to come again, or have what softfail or its parameter backup gives them.",
)
BACKEND_RECOVERING = Message(
    0x0361, "ADM", "backend_recovering", "A backend that was down is tried again, by a few logins first."
)
BACKEND_UP = Message(0x0362, "ADM", "backend_up", "A backend that was down takes all logins again.")
BACKEND_ELSEWHERE = Message(
    0x0365,
    "ADM",
    "backend_elsewhere",
    "A worker reaches a backend at another of its addresses than before: at `address` and not at `instead_of`; "
    "`reason` says why not there: no connection, no greeting, or none in time.",
    most=EACH_MINUTE,
    by="backend",
)
BACKEND_MOVED = Message(
    0x0366,
    "ADM",
    "backend_moved",
    "The host name of a backend stands for `address` now, and not for `was`, to which it was resolved and which is "
    "still used. `backend resolve` takes the new one.",
)
TRACE_NOT_WRITTEN = Message(
    0x0370,
    "ADM",
    "trace_not_written",
    "The file of a trace cannot be written. What sessions say is lost for it until it can be again, which a worker "
    "tries whenever there is something to write; told once until then.",
    most=EACH_MINUTE,
    by="file",
)
LAST_LOGINS_LOST = Message(
    0x0372,
    "ADM",
    "last_logins_lost",
    "Last logins of users could not be written to the state directory (`users last`); nobody is refused for it.",
    most=EACH_MINUTE,
)
TRACE_FULL = Message(
    0x0371,
    "INF",
    "trace_full",
    "A trace has as much as it may have, before its time was over; nothing more is recorded for it.",
)

BACKUP_USED = Message(
    0x0364,
    "INF",
    "backup_used",
    "A user's backend is down: he is led to its backup.",
    most=EACH_MINUTE,
    by="backend",
)
HEALTHUSER_REFUSED = Message(
    0x0367,
    "ADM",
    "healthuser_refused",
    "A backend refuses the mailbox of its check (`health login`), and answers otherwise: a wrong password, or a "
    "mailbox in use. It counts as well; that it lets users in is not checked meanwhile. Told once.",
)
HEALTHUSER_LET_IN = Message(
    0x0368, "ADM", "healthuser_let_in", "A backend lets the mailbox of its check in again, which it had refused."
)
CAPABILITIES_DIFFER = Message(
    0x0363,
    "ADM",
    "capabilities_differ",
    "A virtual server announces (CAPA) what this backend does not: `missing`. Found by the backend's check, told once.",
)

POPULAR_MESSAGES = messages_in(globals())
