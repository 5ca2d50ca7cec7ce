"""The command `explain`: what would become of a login, step by step, without one.

A worker finds it out (session/explain/explain.py); here it is asked, and shown.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.control.commands.thing_commands import named
from supervisor.control.commands.variables import BESIDE, limit_reached
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import Choice, shown
from supervisor.control.language.lookups import AskWorker
from supervisor.control.language.outcome import Outcome, Reply
from supervisor.control.words import CommandRefused, Word

MECHANISMS = ("USER", "APOP", "PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL")
"""By which a client may log in; USER is USER and PASS (session/explain/dialogues.py)."""
_DOES = {
    "locked": "refuses him as if his password were wrong",
    "held": "lets him wait",
    "fake": "shows him an empty mailbox",
    "drained": "lets nobody new in",
    "led": "leads him to ",
}
"""By what becomes of a login (session/login_orders.py)."""
FROM, ON, MECHANISM = WORDS = ("from", "on", "mechanism")
_ANSWERS = {
    "authenticated": "lets him in",
    "unknown": "does not know him",
    "refused": "refuses him",
    "provable": "has keys of him",
}
HERE = "127.0.0.1"
"""Where a client comes from if nothing else is said."""


@dataclass(frozen=True)
class LoginToExplain:
    """The login that `explain` is about, for a worker. `password`: None where it is to be explained without one."""

    user: str
    client_ip: str
    vserv: str
    mechanism: str
    password: bytes | None = field(default=None, repr=False)


def _explain(context: CommandContext, arguments: Arguments) -> Outcome:
    said: dict[str, Word] = dict(zip(arguments["word"], arguments["value"], strict=True))
    secret = context.secret
    if secret is not None and {*b"\r\n"} & {*secret}:
        raise CommandRefused("no client can send a password with a line end in it")
    login = LoginToExplain(
        str(arguments["user"]),
        _address(said.get(FROM)),
        _vserv(said.get(ON), context),
        mechanism=_mechanism(said.get(MECHANISM)),
        password=secret,
    )
    data: Mapping[str, Any] = context.lookups.find(AskWorker(login))
    data = {**data, "limits": [*_of_all(context), *data["limits"]], "waits": limit_reached(context)}
    return Reply(data=data, lines=lines_of(data))


def _of_all(context: CommandContext) -> list[dict[str, object]]:
    """The limits for which a client waits before it is greeted, whoever it is."""
    status, variables = context.status, context.config.variables
    counts: dict[str, float | None] = {
        "maxsession": status.count_sessions(),
        "maxlocalload": status.measured("load"),
        "maxpressure": status.measured("pressure"),
    }
    return [
        {
            "limit": name,
            "mode": "enforce" if variables[name] else "off",
            "count": count or 0,
            "most": variables[name],
            "seconds": 0,
            "code": None,
        }
        for name, count in counts.items()
    ]


def _vserv(word: Word | None, context: CommandContext) -> str:
    vservs = context.config.things["vserv"]
    if word is not None:
        return str(named("vserv", word, context).id)
    if len(vservs) != 1:
        there = f"there are: {', '.join(vservs)}" if vservs else "there is none"
        raise CommandRefused(f"say which virtual server: `{ON} VSERV`; {there}")
    return str(next(iter(vservs)))


def _address(word: Word | None) -> str:
    if word is None:
        return HERE
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        raise CommandRefused(
            f"{FROM}: {shown(word)} is no address; allowed: IPv4 or IPv6, such as 192.0.2.7", word.column, of_form=True
        ) from None


def _mechanism(word: Word | None) -> str:
    if word is None:
        return MECHANISMS[0]
    if word.upper() not in MECHANISMS:
        text = f"{MECHANISM}: {shown(word)} is unknown; allowed: {', '.join(MECHANISMS)}"
        raise CommandRefused(text, word.column, of_form=True)
    return word.upper()


def lines_of(data: Mapping[str, Any]) -> list[str]:
    """The explanation, for people: what, and how it is."""
    lines = [
        f"user       {data['user']!r}{', namespace ' + data['namespace'] if data['namespace'] else ''}",
        f"vserv      {data['vserv']}: {data['protocol']}, {data['state']}; from {data['from']}, by {data['mechanism']}",
        f"in clear   {data['clear']}",
        *(f"limit      {_limit(row)}" for row in data["limits"] if row["mode"] != "off"),
        *(f"module     {_module(row)}" for row in data["modules"]),
    ]
    if data["decision"]:
        lines.append(f"decision   {data['decision']}")
    lines += [f"ordered    {_order(row)}" for row in data["ordered"]]
    if data["backend"]:
        lines.append(f"backend    {_backend(data['backend'])}")
        lines.append(f"mail check {'is made' if data['mail_check'] else 'is not made'}")
        if data["absorbed"]:
            lines.append("absorbed   without the backend: by this password the mailbox was empty a moment ago")
    if data["waits"]:
        lines.append(f"waits      in the queue, without a greeting: {data['waits']} is reached; then it has this reply")
    lines.append(f"reply      {_reply(data['reply'])}{'' if data['certain'] else '  (not certain, see the modules)'}")
    if data["held"]:
        lines.append(f"held back  for {data['held']:g} s in all")
    if data["refusal_seconds"]:
        lines.append(f"refusals   take {data['refusal_seconds']:g} s, as several modules are asked: all are alike")
    lines += [f"but        {_reply(row['reply'])}, if {row['if']}" for row in data["otherwise"]]
    return lines


def _reply(text: str | None) -> str:
    return "that of the backend" if text is None else text or "none"


def _limit(row: Mapping[str, Any]) -> str:
    said = f"{row['limit']}: {row['count']:g} of {row['most']:g}"
    said += f", {row['seconds']:g} s" if row["seconds"] else ""
    said += f", [{row['code']}]" if row["code"] else ""
    return said + (" (on trial)" if row["mode"] != "enforce" else "")


def _module(row: Mapping[str, Any]) -> str:
    parts = [f"{row['module']}{' (on trial)' if row['on_trial'] else ''}: {_answer(row)}"]
    if row["seconds"] is not None:
        parts.append(f"{row['seconds'] * 1000:.1f} ms")
    if row["route"]:
        parts.append(_route(row["route"]))
    if row["cache"]:
        parts.append(f"cache: {row['cache']}")
    return ", ".join(parts)


def _answer(row: Mapping[str, Any]) -> str:
    known = "knows him, and he is locked" if row["locked"] else _ANSWERS.get(row["answer"])
    reason = row["reason"]
    if known and reason:
        return f"{known}: {reason}"
    return known or reason or row["answer"].replace("_", " ")


def _route(route: Mapping[str, Any]) -> str:
    server = f" at {route['server']}" if route["server"] else ""
    flags = f", flags {route['flags']}" if route["flags"] else ""
    target = "own" if route["target"] is None else repr(route["target"])
    return f"backend {route['backend']}{server}, target {target}, password {route['password']}{flags}"


def _order(row: Mapping[str, Any]) -> str:
    """An order by what it does to him."""
    times = "".join(f" {word} {row[word]}" for word in ("since", "until") if row[word])
    return f"{row['order']} {row['id']}{times}: {_DOES[row['does']]}{row['to'] or ''}"


def _backend(row: Mapping[str, Any]) -> str:
    if row["state"] is None:
        return f"{row['id']}: it is not configured"
    tls = f" in TLS ({row['tls']})" if row["tls"] != "off" else ""
    where = f"{row['address']}:{row['port']}" if row["address"] else "no host"
    health = f"; {row['health']}" if row["health"] else ""
    return f"{row['id']}: {row['state']}, {row['prot']}{tls} to {where}; {row['waiting']} wait for it{health}"


def explain_command() -> ControlCommand:
    """The row."""
    return ControlCommand(
        "explain <user> [<word> <value>]…",
        _explain,
        "Tells what would become of a login, step by step, without one.\nThe user is named as the client would name "
        "him. `from IP` is where it comes from, `on VSERV` may be left out where there is one, `mechanism M` is how it "
        "logs in. Namespace, TLS, each limit, each module's answer and time, what the operator has ordered (a lock, a "
        "hold, a drain, a move), the way to the mailbox, the backend, and the reply to the client. Without a password "
        "the right one is supposed, and a module that cannot be asked so says so. With one (`pcontrol --secret explain "
        "…`, or `secret` on the same connection) the modules are asked as by a login, and it counts as an attempt. One "
        "worker is asked; caches, and what it knows of modules that fail, are its own.",
        {
            "user": lambda _context, _said: (),
            "word": Choice(*WORDS),
            "value": _values,
        },
        source=BESIDE,
    )


def _values(context: CommandContext, arguments: Arguments) -> list[str]:
    word = arguments["word"][-1] if arguments["word"] else ""
    return {ON: list(context.config.things["vserv"]), MECHANISM: list(MECHANISMS)}.get(word, [])
