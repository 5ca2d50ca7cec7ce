"""The variables that only `pproxy` has, beside those that every program has."""

import os
import socket
from typing import Any

import popular.pdm
from popular.proxy.settings.backend import LONGEST_STEP, OURS_ALONE, POP3, let_everybody_in
from popular.proxy.settings.cluster import CLUSTER_VARIABLES, FileOrNone
from popular.proxy.settings.health import MOST_NETWORKS
from popular.proxy.settings.kinds import USER_NAMESPACE
from popular.proxy.settings.lastlogins import LAST_LOGIN_VARIABLES
from popular.proxy.settings.limits import LIMIT_VARIABLES
from popular.proxy.settings.reports import REPORT_VARIABLES
from popular.tls.variables import TLS_VARIABLES
from supervisor.control.commands.variables import BESIDE, common_variables
from supervisor.control.language.context import CommandContext, Variable
from supervisor.control.language.kinds import Bool, Dir, Id, Int, Time
from supervisor.control.words import CommandRefused

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SALT_FILE = "saltfile"
_NEW_SESSIONS = "new sessions"
_FOR_SSL_ONLY = "SSLv2 cannot be allowed: no TLS library speaks it any more (RFC 6176 forbids it); allowed: off"


def _no_sslv2(_context: CommandContext, value: bool) -> None:
    if value:
        raise CommandRefused(_FOR_SSL_ONLY)


def _is_a_namespace(_context: CommandContext, value: str) -> None:
    if value == USER_NAMESPACE:
        raise CommandRefused(f"{USER_NAMESPACE} is not a namespace but the request to take it from the client")


def _fallback_note(context: CommandContext, value: str) -> str | None:
    backend = context.config.things["backend"].get(value)
    if backend is not None and backend.prot != POP3:
        raise CommandRefused(f"backend {value} speaks {backend.prot}; the fallback is asked by {POP3}")
    if backend is not None and backend.login in OURS_ALONE:
        raise CommandRefused(f"nobody's password is looked at on the way to the fallback, {let_everybody_in(backend)}")
    return None if not value or backend is not None else f'no backend "{value}" is configured yet'


def _host_id(_ceilings: Any) -> str:
    return socket.gethostname().partition(".")[0][:64] or "localhost"


def _package_directory(_ceilings: Any) -> str:
    return os.path.dirname(os.path.abspath(popular.pdm.__file__))


PROXY_VARIABLES = (
    Variable(
        "allowsslv2",
        Bool(),
        "Allow SSLv2 connections. Always off: no TLS library speaks SSLv2 any more.",
        default=False,
        check=_no_sslv2,
    ),
    Variable(
        "authtimeout",
        Time(0, HOUR),
        "How long a client may take to log in. 0: no limit. It is closed without a word then; but where it waits "
        "for a module, a mail check or a backend, that has failed, and the client is told so.",
        default=2 * MINUTE,
        when=_NEW_SESSIONS,
    ),
    Variable(
        "breakernetworks",
        Int(0, MOST_NETWORKS),
        "A backend counts as down when clients of so many networks met failures of it within breakerwindow (behind a "
        "user's name also as many users), and no more were let in than failed. Nobody asks it then, and its users are "
        "refused at once ([SYS/TEMP], or an empty mailbox with softfail); after five seconds, or up to a minute if it "
        "goes down again and again, it is tried by a few logins, and then by a growing share (the backend's parameter "
        "slowstart). A network is an address of IPv4, a /48 of IPv6. 0: never.",
        default=3,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "breakerwindow",
        Time(1, 10 * MINUTE),
        "How close together the failures of breakernetworks must be.",
        default=10,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "capadir",
        Dir(),
        "Directory of the capability sets that `capa load` reads.",
        default="/etc/popular/capa",
        when="sets loaded from now on",
    ),
    Variable(
        "checkport",
        Int(1, 65535),
        "UDP port of pcheckd on the backends (protocol CXPOP).",
        default=50110,
        when=_NEW_SESSIONS,
    ),
    Variable(
        "checktimeout",
        Time(1, MINUTE),
        "How long to wait for pcheckd's answer; then it counts as lost, and the backend is connected to.",
        default=3,
        when=_NEW_SESSIONS,
    ),
    Variable(
        "connecttimeout",
        Time(1, LONGEST_STEP),
        "How long the connection to a backend may take. A backend's parameter connecttimeout goes before it.",
        default=5,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "defaultns",
        Id(),
        f"The namespace of a client that names none, where the vserv's namespace is {USER_NAMESPACE}.",
        default="default",
        when=_NEW_SESSIONS,
        check=_is_a_namespace,
    ),
    Variable(
        "fallback",
        Id(optional=True),
        'Backend on which users are tried by POP3 whom no module knows. "" for none.',
        default="",
        when=_NEW_SESSIONS,
        check=_fallback_note,
    ),
    Variable(
        "hostwatch",
        Time(0, DAY),
        "How often the host names of backends are looked up, to tell which have moved (`backend lookup`). They are not "
        "followed: `backend resolve` does that. 0: never.",
        default=5 * MINUTE,
        source=BESIDE,
    ),
    Variable(
        "idletimeout",
        Time(10 * MINUTE, DAY),
        "A session in which the client says nothing for this long is closed (RFC 1939 section 3: not below ten "
        "minutes). See also proxytimeout.",
        default=10 * MINUTE,
        when=_NEW_SESSIONS,
    ),
    Variable(
        "logintimeout",
        Time(1, LONGEST_STEP),
        "How long the login to a backend may take once the connection stands: TLS, its greeting, its answer to the "
        "password. Where a backend greets and its connecttimeout is longer, that holds for the greeting too. A "
        "backend's parameter logintimeout goes before it. See also authtimeout.",
        default=30,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "maxcommands",
        Int(0, 10_000),
        "How many commands a client may give before it is logged in; one more ends the session. 0: no limit.",
        default=50,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "maxerrors",
        Int(0, 10_000),
        "How many faulty commands a client may give before it is logged in; one more ends the session.",
        default=10,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "maxfailures",
        Int(1, 1000),
        "The failed login that ends a session.",
        default=3,
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "pdmdir",
        Dir(),
        "Directory of the authentication modules, files named libpdm_NAME. Default: that of the modules which come "
        "with the program.",
        default=_package_directory,
        when="modules added from now on",
    ),
    Variable(
        "pdmwatch",
        Time(0, HOUR),
        "How often the files that modules have read are looked at; a module with one that has changed is reloaded "
        "(`pdm check`). 0: never.",
        default=10,
        source=BESIDE,
    ),
    Variable(
        "proxytimeout",
        Time(10 * MINUTE, DAY),
        "A proxied session in which neither client nor backend says anything for this long is closed (RFC 1939 "
        "section 3). See also idletimeout.",
        default=10 * MINUTE,
        when=_NEW_SESSIONS,
    ),
    Variable(
        SALT_FILE,
        FileOrNone(),
        "The file whose first line is the secret of which salts are made: those that SCRAM-SHA-256 shows for who does "
        'not exist, or has his password stored in clear. The same on all proxies behind one name. "": a secret of this '
        "run.",
        default="",
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "sessiontimeout",
        Time(0, DAY),
        "How long a session may last, whatever it does, counted from the login; a minute more where QUIT is not "
        "answered yet. 0: no limit.",
        default=0,
        when=_NEW_SESSIONS,
    ),
    Variable(
        "sidprefix",
        Id(),
        "First part of every session id. Session ids are unique over a cluster if each host has its own. "
        "Default: the host name without domain.",
        default=_host_id,
        when=_NEW_SESSIONS,
    ),
    Variable(
        "softfail",
        Bool(),
        "Show an empty mailbox instead of an error when a backend that is online does not answer. Mind that mail "
        "programs which keep mail on the server may forget what they have seen.",
        default=False,
        when=_NEW_SESSIONS,
        source="Introduction: soft failure",
    ),
    *LIMIT_VARIABLES,
    *REPORT_VARIABLES,
    *LAST_LOGIN_VARIABLES,
    *CLUSTER_VARIABLES,
    *TLS_VARIABLES,
)

VARIABLES = (*common_variables("pproxy"), *PROXY_VARIABLES)
