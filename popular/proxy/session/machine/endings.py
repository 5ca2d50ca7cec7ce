"""Why a session is over: each session ends once, for one of these reasons.

Each is a counter's label and a word in the log line.

The supervisor's own endings (killed, shutdown, worker_died, internal_error, displaced, kicked) stand in
supervisor/serving/session.py.
"""

ENDINGS: dict[str, str] = {
    "quit": "The client said QUIT and had its reply.",
    "absorbed": "The client said QUIT and had its reply, in a mailbox that was empty a moment ago (absorb).",
    "client_closed": "The client closed the connection without QUIT.",
    "client_reset": "The client's connection broke, or the client vanished.",
    "backend_closed": "The backend closed the connection before QUIT, or without an answer to it.",
    "backend_failed": "The backend could not be reached, was too slow, or refused.",
    "backend_offline": "The user's backend is configured as offline.",
    "no_backend": "A module named a backend that is not configured.",
    "bad_mailbox": "There can be no mailbox of the name that the user's is said to have.",
    "module_failed": "No module could tell whether the user may come in.",
    "vserv_disabled": "The virtual server is disabled: banner and close.",
    "too_many_failures": "Too many failed logins on one connection.",
    "too_many_errors": "Too many faulty commands before login.",
    "too_many_commands": "Too many commands before login.",
    "line_too_long": "A line without end, or longer than a command may be.",
    "null_byte": "A NUL octet in the input: dropped at once and silently.",
    "plaintext_after_stls": "Something was sent in clear after STLS: it could have been injected.",
    "drained": "The virtual server, or the user's backend, is drained (command drain): nobody new comes in.",
    "held": "The user is held (user hold, user move, a drain with new hold), and waited as long as a login may.",
    "blocked": "The client's network is blocked (command block): closed without a reply.",
    "proxy_header": "A PROXY header was expected, and did not come, or not from a trusted address.",
    "tls_failed": "The TLS handshake failed.",
    "auth_timeout": "Not logged in within authtimeout.",
    "idle_timeout": "Nothing was heard of the client for idletimeout.",
    "proxy_timeout": "Nothing came from client or backend for proxytimeout.",
    "session_timeout": "The session was longer than sessiontimeout.",
    "no_resources": "We had no descriptor, memory or port left to reach the backend.",
    "no_secret": "There is nothing to show to the user's POP3 backend.",
}

LOGIN_FAILURES: dict[str, str] = {
    "password": "wrong password",
    "unknown": "nobody knows the user",
    "backend": "the backend refused him",
    "module": "no module could tell",
    "unavailable": "his backend fails, is offline, drained or held, or cannot be asked for such a mailbox or login",
    "resources": "no descriptor, memory or port of ours left",
    "locked": "the user is locked",
    "cancelled": "the client proved that it has the password (SCRAM), and did not log in",
}
"""Why a login failed, for the counter."""
