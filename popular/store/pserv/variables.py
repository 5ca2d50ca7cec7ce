"""The variables that only `pserv` has, beside those that every program has."""

from supervisor.control.language.context import Variable
from supervisor.control.language.kinds import Dir, Time

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR

CHAPTER = "Runtime configuration of pserv: the show and set commands"

_NEW_SESSIONS = "new sessions"

STORE_VARIABLES = (
    Variable(
        "idletimeout",
        Time(10 * MINUTE, DAY),
        "A session in which the client says nothing and takes nothing for this long is closed (RFC 1939 section 3: "
        "not below ten minutes).",
        default=10 * MINUTE,
        when=_NEW_SESSIONS,
        source=CHAPTER,
    ),
    Variable(
        "mailboxdir",
        Dir(),
        "Root of the mailboxes; the names in requests are relative to it.",
        default="/pop",
        when=_NEW_SESSIONS,
        source=CHAPTER,
    ),
    Variable(
        "requesttimeout",
        Time(1, HOUR),
        "How long a proxy may take to name the mailbox.",
        default=30,
        when=_NEW_SESSIONS,
        source=CHAPTER,
    ),
    Variable(
        "sessiontimeout",
        Time(0, DAY),
        "How long a session may last, whatever it does, counted from its request; QUIT is carried out to the end. 0: "
        "no limit.",
        default=0,
        when=_NEW_SESSIONS,
        source=CHAPTER,
    ),
)
