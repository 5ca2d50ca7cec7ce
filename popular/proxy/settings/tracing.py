"""Traces: the commands `trace start|list|show|stop`.

A trace is an order of the operator's (supervisor/operatorstate.py): whose next sessions are recorded, until when, how
much at most, and in which file. Workers record them (popular/proxy/session/tracing). The files lie in the
state directory, and stay there until there is need for their room (`tracespace`).
"""

import fcntl
import ipaddress
import mmap
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from popular.proxy.settings.blocking import OneNetwork
from popular.proxy.settings.order_sorts import iso, user_key
from popular.proxy.settings.pairs import OF_NAMESPACE, user_notes, user_of
from supervisor.control.commands.history import IsDirectory
from supervisor.control.commands.thing_commands import named
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import Choice, Id, Int, Kind, Time, shown
from supervisor.control.language.lookups import Job, Lookups, Unfit
from supervisor.control.language.outcome import Ordered, Outcome, Reply
from supervisor.control.words import CommandRefused, Word
from supervisor.operatorstate import FILE, OrderEntry, is_over
from supervisor.runtime.plural import count_of
from supervisor.runtime.statespace import TRACES, make_room

TRACE = "trace"
"""The sort of these orders."""
USER, NETWORK, BACKEND, VSERV = "user", "network", "backend", "vserv"
MOST_TRACES = 100
_MEGABYTE = 1 << 20
_USUAL_SECONDS, _LONGEST = 10 * 60, 7 * 86_400
_USUAL_OCTETS = _MEGABYTE
_MOST_SHOWN = 4 * _MEGABYTE
_SUFFIX = ".trace"
FULL, UNWRITTEN = stat.S_ISVTX, stat.S_ISGID
"""Bits of the mode of a trace's file: it has all it may have; what was last to be written could not be. They mean
nothing else for a file that nobody executes.
"""
ANY_NAMESPACE = "*"
"""The namespace of a user's trace that has none, and no namespace's name: a release ordered it before a user was of
one namespace.
"""
HEAD = "- +0.000000 -- trace "
"""So the first line of such a file begins; then come the trace's id, the sort of its target, and that."""
_WHOSE = re.compile(rf"{re.escape(HEAD)}[0-9]+: (\w+) ([^\n]+)\n".encode())
_NUMBER = re.compile("[0-9]{1,9}")
_LONGEST_HEAD = 2048
_UNREADABLE = "nothing is recorded: the order is none that this release can carry out; `trace stop` ends it"
_UNWRITTEN = "what was said last could not be written: trace_not_written in the log says why"


@dataclass(frozen=True)
class Size(Kind):
    """Octets: a number, with K or M after it."""

    most: int = 1 << 30

    def describe(self) -> str:
        return "Size (4K-1024M)"

    def parse(self, text: str, lookups: Lookups) -> int:
        del lookups
        number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in ("K", "M") else (text, "")
        octets = int(number) * {"K": 1024, "M": _MEGABYTE, "": 1}[unit] if number.isascii() and number.isdigit() else 0
        if not 4096 <= octets <= self.most:
            raise Unfit(f"{shown(text)} does not fit; allowed: 4K to 1024M")
        return octets

    def format(self, value: int) -> str:
        return f"{value // _MEGABYTE}M" if value % _MEGABYTE == 0 else f"{value // 1024}K"


@dataclass(frozen=True)
class TraceFile:
    """One that is there."""

    id: int
    octets: int
    changed: float
    full: bool
    error: str = ""
    """Why nothing is written there now."""
    sessions: int | None = None
    """How many were recorded to their end; None where nobody has counted."""
    of: str | None = None
    name: str | None = None
    """Whose it is, as it says itself; None where nobody has read it, or it does not."""


@dataclass(frozen=True)
class ListTraces(Job):
    """Which files there are of a program's."""

    directory: str
    program: str
    counts: bool = False
    """They are read too: whose they are, and how many sessions are in them."""

    def perform(self) -> list[TraceFile]:
        found = []
        with suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            for entry in entries:
                match = re.fullmatch(rf"{re.escape(self.program)}-([0-9]{{1,9}}){re.escape(_SUFFIX)}", entry.name)
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if match is not None and stat.S_ISREG(status.st_mode):
                        said = TraceFile(
                            int(match[1]),
                            status.st_size,
                            status.st_mtime,
                            full=bool(status.st_mode & FULL),
                            error=_UNWRITTEN if status.st_mode & UNWRITTEN else "",
                        )
                        found.append(_read(entry.path, said) if self.counts else said)
        return sorted(found, key=lambda one: one.id)


_END_OF_SESSION, _BEFORE_IT = b" -- the end: ", re.compile(rb"\S+ \S+")


def _read(path: str, said: TraceFile) -> TraceFile:
    """With what is in it."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        fcntl.flock(fd, fcntl.LOCK_SH)  # a writer that had to stop takes off what it had begun
        if not os.fstat(file.fileno()).st_size:
            return replace(said, sessions=0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
            whose = _WHOSE.match(octets[:_LONGEST_HEAD])
            of, name = [word.decode("utf-8", "replace") for word in whose.groups()] if whose else (None, None)
            return replace(said, sessions=_count_ends(octets), of=of, name=name)


def _count_ends(octets: mmap.mmap) -> int:
    """How many sessions are in it to their end. No line in it begins as somebody else likes, but it may go on so. Not
    line by line: it may be of a gigabyte, and there may be many.
    """
    count, at = 0, octets.find(_END_OF_SESSION)
    while at >= 0:
        begin = octets.rfind(b"\n", 0, at) + 1
        count += _BEFORE_IT.fullmatch(octets[begin:at]) is not None
        at = octets.find(_END_OF_SESSION, at + 1)
    return count


@dataclass(frozen=True)
class MakeRoom(Job):
    """Removes the oldest files, of traces and of the history, so that there is room for so many octets."""

    statedir: str
    program: str
    octets: int

    def perform(self) -> None:
        make_room(Path(self.statedir), self.program, self.octets)


@dataclass(frozen=True)
class ReadTrace(Job):
    """What was recorded: the last of it, if it is much."""

    path: str

    def perform(self) -> list[str]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        with open(fd, "rb") as file:
            file.seek(max(0, os.fstat(fd).st_size - _MOST_SHOWN))
            lines = file.read(_MOST_SHOWN).decode("utf-8", "replace").split("\n")[:-1]
        return lines[1:] if lines and lines[0].startswith(HEAD) else lines


def well_formed(orders: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The traces among these orders: people may have written anything into the file that they were read from."""
    return {ident: value for ident, value in orders.items() if is_well_formed(ident, value)}


def is_well_formed(ident: str, value: Mapping[str, Any]) -> bool:
    """Whether it can be carried out."""
    of, name = value.get("of"), value.get("name")
    if of == NETWORK:
        try:
            ipaddress.ip_network(str(name))
        except ValueError:
            return False
    numbers, texts = (value.get("until"), value.get("most")), [name, value.get(FILE)]
    if of == USER:
        texts.append(namespace_of(value))
    return (
        of in (USER, NETWORK, BACKEND, VSERV)
        and _NUMBER.fullmatch(ident) is not None
        and all(type(number) in (int, float) for number in numbers)
        and all(isinstance(text, str) for text in texts)
    )


def namespace_of(value: Mapping[str, Any]) -> Any:
    """The namespace of the user whom an order is about."""
    return value.get("namespace", ANY_NAMESPACE)


def _ordered(context: CommandContext) -> dict[str, Mapping[str, Any]]:
    return well_formed(context.status.operator.of(TRACE))


def _kept(context: CommandContext) -> dict[str, Mapping[str, Any]]:
    """The traces that are not over, also such as cannot be carried out: they are to be seen, and can be ended."""
    orders = context.status.operator.of(TRACE)
    return {ident: value for ident, value in orders.items() if not is_over(value, time.time())}


def _living(context: CommandContext) -> dict[str, Mapping[str, Any]]:
    return well_formed(_kept(context))


def _file_of(context: CommandContext, ident: int) -> str:
    return f"{context.status.statedir}/{TRACES}/{context.program.name}-{ident}{_SUFFIX}"


def _found(context: CommandContext, job: Job) -> Any:
    try:
        return context.lookups.find(job)
    except Unfit as unfit:
        raise CommandRefused(f"{context.status.statedir}/{TRACES}: {unfit}") from None


def _files(context: CommandContext, *, counts: bool = False) -> dict[int, TraceFile]:
    job = ListTraces(f"{context.status.statedir}/{TRACES}", context.program.name, counts)
    return {file.id: file for file in _found(context, job)}


def _options(arguments: Arguments) -> dict[str, Any]:
    """For how many seconds, and how many octets at most; of a user also the namespace, if it is said."""
    found: dict[str, Any] = {FOR: _USUAL_SECONDS, MAX: _USUAL_OCTETS}
    for option, word in zip(arguments["option"], arguments["value"], strict=True):
        try:
            found[option] = _OPTIONS[option].parse(str(word), Lookups())
        except Unfit as unfit:
            raise CommandRefused(f"{option}: {unfit}", word.column, of_form=True) from None
    return found


def _start(context: CommandContext, arguments: Arguments, of: str) -> Outcome:
    word, options = arguments["target"], _options(arguments)
    seconds, most = options[FOR], options[MAX]
    whom = {"name": str(word)} if of != USER else _whom(word, options, context)
    if of in (BACKEND, VSERV):
        named(of, word, context)
    living, files = _living(context), _files(context)
    if len(living) >= MOST_TRACES:
        raise CommandRefused(f"{MOST_TRACES} traces are there already; `trace stop ID` ends one")
    _make_room(context, living, files, most=most)
    ident = max([0, *files, *_numbers(context.status.operator.of(TRACE))]) + 1
    path = _file_of(context, ident)
    value = {"of": of, **whom, "until": round(time.time() + seconds), "most": most, FILE: path}
    text = f"trace {ident}: the next sessions of {of} {_name(value)}, in {path}"
    data = {"id": ident, "of": of, "name": _name(value), "file": path}
    notes = user_notes(word, options, whom["namespace"], context=context) if of == USER else ()
    return Ordered(text, data, [text], entries=(OrderEntry(TRACE, str(ident), value),), notes=notes)


def _numbers(idents: Iterable[str]) -> list[int]:
    return [int(ident) for ident in idents if _NUMBER.fullmatch(ident)]


def _whom(word: str, options: Mapping[str, Any], context: CommandContext) -> dict[str, str]:
    said = {NAMESPACE: Word(options[NAMESPACE], 0)} if NAMESPACE in options else {}
    namespace, name = user_of(Word(word, 0), said, context)
    return {"namespace": namespace, "name": name}


def _name(value: Mapping[str, Any]) -> Any:
    """Whom an order is about, for people and programs."""
    return user_key(namespace_of(value), value["name"]) if value.get("of") == USER else value.get("name")


def _make_room(
    context: CommandContext, living: Mapping[str, Mapping[str, Any]], files: Mapping[int, TraceFile], *, most: int
) -> None:
    """All that may be recorded fits into tracespace; for that the oldest files go."""
    space = context.config.variables["tracespace"] * _MEGABYTE
    taken = sum(value["most"] for value in living.values()) + most
    if taken > space:
        raise CommandRefused(
            f"the traces that are there could come to {-(-taken // _MEGABYTE)} MiB with this one; tracespace is "
            f"{space // _MEGABYTE}"
        )
    written = sum(files[int(ident)].octets for ident in living if int(ident) in files)
    _found(context, MakeRoom(context.status.statedir, context.program.name, space - taken + written))


def _list(context: CommandContext, _arguments: Arguments) -> Outcome:
    kept, files, orders = _kept(context), _files(context, counts=True), _ordered(context)
    rows = [
        _row(context, ident, orders.get(str(ident)), file=files.get(ident))
        for ident in sorted({*files, *_numbers(kept)})
    ]
    for row in rows:
        if str(row["id"]) in kept and str(row["id"]) not in orders:
            row["error"] = _UNREADABLE
    return Reply(count_of(len(rows), "trace"), data=rows, lines=None if rows else ["nothing is traced"])


def _row(
    context: CommandContext, ident: int, order: Mapping[str, Any] | None, *, file: TraceFile | None
) -> dict[str, Any]:
    """One trace: by its order, which is soon gone when it is over, and by its file, which there may not be yet."""
    at_work = order is not None and not is_over(order, time.time())
    return {
        "id": ident,
        "of": order["of"] if order else file and file.of,
        "name": _name(order) if order else file and file.name,
        "until": iso(order["until"]) if order and at_work else None,
        "sessions": file.sessions if file else 0,
        "octets": file.octets if file else 0,
        "max": order["most"] if order else None,
        "full": file is not None and file.full,
        "error": _error_of(context, file) if at_work else "",
        "last": iso(file.changed) if file else None,
    }


def _error_of(context: CommandContext, file: TraceFile | None) -> str:
    """Why nothing is written for a trace that is at work; "" if something is, or nobody came yet."""
    if file is not None:
        return file.error
    statedir = context.status.statedir
    return "" if _found(context, IsDirectory(str(statedir))) else f"{statedir} is gone"


def _ids(context: CommandContext, _arguments: Arguments) -> list[str]:
    return list(_kept(context))


def _stop(context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["id"]
    kept, living = _kept(context), _living(context)
    if word not in kept:
        raise CommandRefused(f"{shown(word)} is no trace that is at work; `trace list` lists them", word.column)
    text = f"trace {word} ends, for which nothing was recorded: the order was none that this release can carry out"
    if word in living:
        text = f"trace {word} of {living[word]['of']} {_name(living[word])} ends; `trace show {word}` shows it"
    return Ordered(text, entries=(OrderEntry(TRACE, str(word), None),))


def _show(context: CommandContext, arguments: Arguments) -> Outcome:
    ident = arguments["id"]
    if ident not in _files(context):
        if str(ident) in _living(context):
            return Reply("0 lines", data=[], lines=["nobody came yet whom it concerns"])
        raise CommandRefused(f"there is no trace {ident}; `trace list` lists them")
    lines = _found(context, ReadTrace(_file_of(context, ident)))
    return Reply(count_of(len(lines), "line"), data=lines, lines=lines)


@dataclass(frozen=True)
class UserName(Kind):
    """The name of a user, as he says it."""

    def describe(self) -> str:
        return "User"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        if not text or len(text) > 255 or not text.isprintable():
            raise Unfit(f"{shown(text)} is no user name")
        return text


FOR, MAX, NAMESPACE = "for", "max", "namespace"
_OPTIONS: dict[str, Kind] = {FOR: Time(1, _LONGEST), MAX: Size(), NAMESPACE: Id()}


def _values(_context: CommandContext, arguments: Arguments) -> list[str]:
    return {FOR: ["10m", "1h"], MAX: ["1M", "10M"]}.get(arguments["option"][-1], [])


_OF_NAMESPACE = f"{OF_NAMESPACE} Another namespace's user of the same name is in no trace of his. "


def trace_commands() -> list[ControlCommand]:
    """The rows."""
    row = partial(ControlCommand, source=BESIDE)
    targets: dict[str, Any] = {
        USER: UserName(),
        NETWORK: OneNetwork(),
        BACKEND: _things(BACKEND),
        VSERV: _things(VSERV),
    }
    starts = [
        row(
            f"trace start {of} <target> [<option> <value>]…",
            partial(_start, of=of),
            f"Records the next sessions of a {of}: what client and backend said, and when.\nPasswords, tokens and "
            "mails are not in it, only that they were there. It ends by itself, after ten minutes if nothing is said, "
            "and is full at 1M. "
            f"{_OF_NAMESPACE if of == USER else ''}The file can be read by nobody but the user of the program; "
            "`trace show` shows it.",
            {
                "target": targets[of],
                "option": Choice(FOR, MAX, NAMESPACE) if of == USER else Choice(FOR, MAX),
                "value": _values,
            },
            changes=True,
            one_off=True,
        )
        for of in targets
    ]
    return [
        *starts,
        row(
            "trace list", _list, "Lists the traces: those at work with their end, and the files of those that are over."
        ),
        row(
            "trace show <id>",
            _show,
            "Shows what a trace has recorded; of more than 4M the last.",
            {"id": Int(1, 1 << 31)},
        ),
        row(
            "trace stop <id>",
            _stop,
            "Ends a trace. What it has recorded stays.",
            {"id": _ids},
            changes=True,
            one_off=True,
        ),
    ]


def _things(sort: str) -> Any:
    def names(context: CommandContext, _arguments: Arguments) -> list[str]:
        return list(context.config.things[sort])

    return names
