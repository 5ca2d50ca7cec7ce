"""Why a session of `pserv` is over: each session ends once, for one of these reasons.

Each is a counter's label and a word in the log line. The supervisor's own stand in supervisor/serving/session.py.
"""

ENDINGS: dict[str, str] = {
    "quit": "The client said QUIT and had its reply.",
    "client_closed": "The client closed the connection without QUIT; the mailbox is as it was.",
    "client_reset": "The client's connection broke; the mailbox is as it was.",
    "request_timeout": "The XPOP request did not come within requesttimeout.",
    "tls_failed": "The TLS handshake failed, or was not done within requesttimeout.",
    "bad_request": "The first three lines were no XPOP request, or the mailbox name is not allowed.",
    "line_too_long": "A line without end, or longer than a command may be.",
    "null_byte": "A NUL octet in the input: dropped at once and silently.",
    "mailbox_failed": "The mailbox could not be opened, or a message could not be read to its end.",
    "update_failed": "QUIT was given, but the mailbox could not be updated.",
    "disk_timeout": "The file system did not answer in time.",
    "idle_timeout": "Nothing was heard of the client for idletimeout.",
    "session_timeout": "The session was longer than sessiontimeout.",
}
