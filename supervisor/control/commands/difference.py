"""The configuration as an rc file, and what differs between two of them.

`config_lines` is what `show config` prints. `difference` compares the running config with another one: as lines that go
and come, in their order, and as the names of what is new, gone or changed. Pure, and quick for long files: a line is
looked at a few times, not once for every other line.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.config import Config
from supervisor.control.commands.things import in_effect, moved_hosts
from supervisor.control.files.rcfile import COMES, GOES, NOTHING_DIFFERS
from supervisor.control.language.context import Ceilings, CommandContext, ProgramTables, Variable, context_with
from supervisor.control.words import phrase

_MOST_NAMES = 20
_SAID = "said otherwise"


def config_lines(context: CommandContext) -> list[str]:
    """The running configuration as an rc file."""
    return lines_of_config(context.config, context.program, context.ceilings)


def lines_of_config(config: Config, program: ProgramTables, ceilings: Ceilings) -> list[str]:
    """A configuration as an rc file: variables that were set, or that a start option keeps from their default; things,
    debug options.
    """
    lines = [
        phrase(["set", row.name, row.kind.format(config.variables[row.name])])
        for row in _settable(program)
        if _is_said(row, config, ceilings)
    ]
    lines += program.rc_lines(config)
    if config.debug:
        lines.append(f"debug ={','.join(sorted(config.debug))}")
    return lines


def _settable(program: ProgramTables) -> Iterator[Variable]:
    return (row for row in program.variables if not row.read_only)


def _is_said(row: Variable, config: Config, ceilings: Ceilings) -> bool:
    """A default follows start option and host; what was set does not, also where it is the default now."""
    return row.name in config.given or config.variables[row.name] != row.first(ceilings)


@dataclass(frozen=True)
class Difference:
    """`lines` begin with GOES or COMES; the others are names: `vserv v1`, `variable grace`, `order of pdm`. `said` are
    those that are as they were in effect: only one of the two configurations says what is a default.
    """

    lines: Sequence[str] = ()
    new: Sequence[str] = ()
    gone: Sequence[str] = ()
    changed: Sequence[str] = ()
    said: Sequence[str] = ()
    moved: Sequence[str] = ()
    """Host names that stand for another address than the one in force."""

    def __bool__(self) -> bool:
        return bool(self.lines or self.new or self.gone or self.changed or self.said)

    def summary(self) -> str:
        """For people: `2 new, 1 changed`. Begins with NOTHING_DIFFERS where all is as it was in effect."""
        counts = {word: len(names) for word, names in self._in_effect().items()}
        found = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        if not self.said:
            return found or NOTHING_DIFFERS
        return f"{found or f'{NOTHING_DIFFERS} in effect'}, {len(self.said)} {_SAID}"

    def data(self) -> dict[str, list[str]]:
        """For JSON."""
        names = {word: list(names) for word, names in self._in_effect().items()}
        return {"lines": list(self.lines), **names, "said": list(self.said), "moved": list(self.moved)}

    def text_lines(self) -> list[str]:
        """For people: the lines, and after them as comments what they mean."""
        named = {**self._in_effect(), _SAID: self.said}
        return [
            *self.lines,
            *(f"# {word}: {_listed(names)}" for word, names in named.items() if names),
            *(f"# {text}" for text in self.moved),
        ]

    def _in_effect(self) -> dict[str, Sequence[str]]:
        return {"new": self.new, "gone": self.gone, "changed": self.changed}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def difference(context: CommandContext, config: Config) -> Difference:
    """What would be different if this config were the running one."""
    running = context.config
    new: list[str] = []
    gone: list[str] = []
    changed = [f"variable {name}" for name, value in running.variables.items() if config.variables[name] != value]
    said = [
        f"variable {row.name}"
        for row in _settable(context.program)
        if _is_said(row, running, context.ceilings) != _is_said(row, config, context.ceilings)
        and running.variables[row.name] == config.variables[row.name]
    ]
    for sort, old in running.things.items():
        wanted = config.things[sort]
        new += [f"{sort} {ident}" for ident in wanted if ident not in old]
        gone += [f"{sort} {ident}" for ident in old if ident not in wanted]
        others = [ident for ident, thing in wanted.items() if ident in old and old[ident] != thing]
        alike = {ident for ident in others if in_effect(old[ident]) == in_effect(wanted[ident])}
        changed += [f"{sort} {ident}" for ident in others if ident not in alike]
        said += [f"{sort} {ident}" for ident in others if ident in alike]
        if _order(old, wanted) != _order(wanted, old):
            changed.append(f"order of {sort}")
    if running.debug != config.debug:
        changed.append("debug options")
    lines = compare(config_lines(context), config_lines(context_with(context, config)))
    moved = moved_hosts(running, config)
    return Difference(
        tuple(lines), tuple(new), tuple(gone), changed=tuple(changed), said=tuple(said), moved=tuple(moved)
    )


def _order(things: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    return [ident for ident in things if ident in others]


def compare(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """The fewest lines that have to go and come to make `new` of `old`, where they stand."""
    positions = _positions(old, new)
    stays = _longest_rise(positions)
    here = 0
    coming: list[str] = []
    for line, position in zip(new, positions, strict=True):
        if position not in stays:
            coming.append(COMES + line)
            continue
        yield from (GOES + gone for gone in old[here:position])
        yield from coming
        coming, here = [], position + 1
    yield from (GOES + gone for gone in old[here:])
    yield from coming


def _positions(old: Sequence[str], new: Sequence[str]) -> list[int]:
    """Where each line of `new` stands in `old`, each place once; -1 for a line that is not there."""
    places: dict[str, list[int]] = defaultdict(list)
    for position in reversed(range(len(old))):
        places[old[position]].append(position)
    return [places[line].pop() if places.get(line) else -1 for line in new]


def _longest_rise(numbers: Sequence[int]) -> set[int]:
    """The longest choice of numbers, none negative, that rise from left to right (patience sorting)."""
    ends: list[int] = []
    before: dict[int, int] = {}
    for number in numbers:
        if number < 0:
            continue
        pile = bisect_left(ends, number)
        before[number] = ends[pile - 1] if pile else -1
        ends[pile : pile + 1] = [number]
    chosen = set()
    number = ends[-1] if ends else -1
    while number >= 0:
        chosen.add(number)
        number = before[number]
    return chosen
