"""The configurations that were in force, as the operator asks for them: `config history`, `show`, `diff`, `rollback`.

Each is kept as a file of its own in the state directory: an rc file that makes it anew, with a first line that tells
who brought it about, when and why. It holds commands, and never what the files hold that they name: a rollback reads
certificates and modules as they are now. Pure, but for the jobs that look for such files and read them.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.control.commands.difference import compare, config_lines
from supervisor.control.commands.variables import BESIDE, DAY
from supervisor.control.files.historyfile import (
    MOST_KEPT,
    HistoryEntry,
    KeptConfigurations,
    file_name,
    head_of,
    lines_in,
)
from supervisor.control.files.rcfile import COMES, NOTHING_DIFFERS
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand, Variable, context_with
from supervisor.control.language.kinds import Choice, Int, Time
from supervisor.control.language.lookups import Job, Unfit
from supervisor.control.language.outcome import Outcome, Reapply, Reply
from supervisor.control.language.replytext import lines_of, noted
from supervisor.control.words import CommandRefused, phrase, split
from supervisor.runtime.directory import Directory
from supervisor.runtime.plural import count_of

_LONGEST = 64 << 20
_BEING_WRITTEN_SECONDS = 3.0
"""The newest one may be on its way to the disk."""
_LOOK_SECONDS = 0.02
_SHOWN = 20
_NUMBER = Int(1, 2**31 - 1)


@dataclass(frozen=True)
class ReadKept(Job):
    """The lines of a configuration that was kept."""

    directory: str
    name: str

    def perform(self) -> list[str]:
        content = self._content()
        try:
            head_of(content)
            return lines_in(content)
        except ValueError as error:
            raise Unfit(f"{self.directory}/{self.name} is damaged: {error}") from None

    def _content(self) -> bytes:
        deadline = time.monotonic() + _BEING_WRITTEN_SECONDS
        while True:
            try:
                directory = Directory.open(Path(self.directory))
                try:
                    fd = directory.open_file(self.name, os.O_RDONLY)
                finally:
                    directory.close()
            except FileNotFoundError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                with open(fd, "rb") as file:
                    return file.read(_LONGEST)


@dataclass(frozen=True)
class FindKept(Job):
    """Which of the files are there, or will be in a moment: traces may have needed the room of others."""

    directory: str
    unwritten: tuple[str, ...]

    def perform(self) -> frozenset[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return frozenset([*self.unwritten, *os.listdir(self.directory)])
        return frozenset(self.unwritten)


@dataclass(frozen=True)
class IsDirectory(Job):
    """Whether a directory is there."""

    path: str

    def perform(self) -> bool:
        return os.path.isdir(self.path)


def _there(context: CommandContext) -> list[HistoryEntry]:
    """Those whose files are there."""
    kept = context.status.history
    if not kept.entries:
        return []
    names = context.lookups.find(FindKept(kept.directory, kept.unwritten))
    return [entry for entry in kept.entries if file_name(context.program.name, entry.number) in names]


def _entry(context: CommandContext, number: int) -> HistoryEntry:
    entries = _there(context)
    for entry in entries:
        if entry.number == number:
            return entry
    known = [entry.number for entry in entries]
    kept = f"{min(known)} to {max(known)} are" if known else "none is"
    raise CommandRefused(f"no configuration {number} is kept; {kept} (`config history`)")


def _kept_lines(context: CommandContext, number: int) -> list[str]:
    """Raises CommandRefused, NeedsLookup."""
    _entry(context, number)
    directory = context.status.history.directory
    found: list[str] = context.lookups.find(ReadKept(directory, file_name(context.program.name, number)))
    return found


def _history(context: CommandContext, arguments: Arguments) -> Outcome:
    entries = _there(context)[-(arguments["count"] or _SHOWN) :][::-1]
    rows = [entry.as_row() for entry in entries]
    lines = [entry.as_line() for entry in entries]
    kept = context.status.history
    text = noted(count_of(len(rows), "configuration"), _unkept(kept))
    if not rows:
        why = kept.trouble or _gone(context) or "nothing was changed since the program was started"
        return Reply(text, data=rows, lines=[f"none is kept: {why}"])
    return Reply(text, data=rows, lines=lines_of(lines))


def _unkept(kept: KeptConfigurations) -> str:
    """What is not in the list, and why; "" if all is."""
    if not kept.waiting:
        return kept.trouble
    waiting = count_of(kept.waiting, "newer configuration")
    return f"{waiting} could not be written yet, and it is tried again: {kept.trouble}"


def _gone(context: CommandContext) -> str:
    """Why those that were kept are not there any more; "" if there were none."""
    kept = context.status.history
    if not kept.entries:
        return ""
    is_there = context.lookups.find(IsDirectory(kept.directory))
    return "traces have needed the room (tracespace)" if is_there else f"{kept.directory} is gone"


def _show(context: CommandContext, arguments: Arguments) -> Outcome:
    entry = _entry(context, arguments["number"])
    lines = _kept_lines(context, entry.number)
    told = entry.as_line()
    about = f"# {entry.number}: {told['when']}, {told['who']}{f': {entry.reason}' if entry.reason else ''}"
    return Reply(data={**entry.as_row(), "lines": lines}, lines=[about, *lines])


def _diff(context: CommandContext, arguments: Arguments) -> Outcome:
    other = arguments["other"]
    before = _kept_lines(context, arguments["number"])
    after = config_lines(context) if other is None else _kept_lines(context, other)
    lines = list(compare(before, after))
    comes = sum(line.startswith(COMES) for line in lines)
    text = f"{comes} come, {len(lines) - comes} go" if lines else NOTHING_DIFFERS
    return Reply(text, data=lines)


def _rollback(context: CommandContext, arguments: Arguments) -> Outcome:
    number = arguments["number"]
    lines, stay = _as_it_can_be(context, _kept_lines(context, number))
    text = f"configuration {number} is in force again"
    if stay:
        text = noted(text, f"as it was it cannot be again, so it stays: {', '.join(stay)}")
    return Reapply(text, commands=lines, confirm_seconds=arguments["time"])


def _as_it_can_be(context: CommandContext, lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """The lines, with the value of now in place of one that a variable cannot have any more while the program runs,
    said or not; and the names of those. So it is with `rollback`.
    """
    said = {str(words[1]): words[2] for words in map(split, lines) if len(words) == 3 and words[0] == "set"}
    now = context.in_force.variables
    stay = {row.name: row for row in context.program.variables if _only_at_start(context, row, said.get(row.name))}
    kept = [phrase(["set", name, row.kind.format(now[name])]) for name, row in stay.items()]
    others = [line for line in lines if not (split(line)[:1] == ["set"] and split(line)[1] in stay)]
    return [*kept, *others], list(stay)


def _only_at_start(context: CommandContext, row: Variable, said: str | None) -> bool:
    """Whether a variable could have the value that is said, or its first one, if the program were just starting, and
    cannot as things are. What is wrong with it anyway is told of its line.
    """
    if row.check is None or row.read_only:
        return False
    try:
        value = context.first.variables[row.name] if said is None else row.kind.parse(said, context.lookups)
        if value == context.in_force.variables[row.name]:
            return False
        row.check(context_with(context, context.config, starting=True), value)
    except (CommandRefused, Unfit):
        return False
    try:
        row.check(context, value)
    except (CommandRefused, Unfit):
        return True
    return False


def history_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            "config history [<count>]",
            _history,
            f"Lists the configurations that were in force, the newest first: {_SHOWN}, or so many.\nWhat one person "
            "says in one go is one of them. Each has its number, when it came into force, who brought it about (the "
            "name that `sign` has said, and the uid of the peer), why, how many lines came and went, and the commands. "
            f"They are kept in the state directory, beyond the end of the program: at most {MOST_KEPT}, and as many as "
            "tracespace has room for. What could not be written yet is told.",
            {"count": Int(1, MOST_KEPT)},
            source=BESIDE,
        ),
        ControlCommand(
            "config show <number>",
            _show,
            "Shows a configuration that was in force, as an rc file.",
            {"number": _NUMBER},
            source=BESIDE,
        ),
        ControlCommand(
            "config diff <number> [<other>]",
            _diff,
            "Shows what differs between a configuration that was in force and the running one, or another one.\nLines "
            "that only the first has begin with -, those that only the second has with +.",
            {"number": _NUMBER, "other": _NUMBER},
            source=BESIDE,
        ),
        ControlCommand(
            "config rollback <number> [<option> <time>]",
            _rollback,
            "Puts a configuration that was in force into force again, all of it or nothing.\nIts commands are said "
            "anew, as `draft apply` would do it: host names, certificates, modules and capability sets are those of "
            "now. With `confirm 60s` the configuration before comes back unless `confirm` is said within that time; "
            "`rollback` takes it back in any case.",
            {"number": _NUMBER, "option": Choice("confirm"), "time": Time(1, DAY)},
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
    ]
