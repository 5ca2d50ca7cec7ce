"""Whole configurations: draft, check, apply, confirm, rollback. The commands behind `pcontrol check` and `apply`.

A draft belongs to the control connection on which it was begun, and is gone with it. It begins where the program began,
with what its start options say; every `draft say COMMAND` adds to it, and nothing is in force before `draft apply`
puts all of it into force as one generation, or nothing. Rules about single steps, such as "port only while offline",
compare with what the draft says before, and so never with what is running.

The handlers are pure: the executor keeps the draft, and the config to go back to.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from supervisor.config import Config
from supervisor.control.commands.difference import Difference, difference
from supervisor.control.commands.variables import BESIDE, DAY
from supervisor.control.files.rcfile import FOLLOWS, NOTHING_DIFFERS, ROLLBACK
from supervisor.control.language.context import (
    Arguments,
    CommandContext,
    ControlCommand,
    Incomplete,
    context_with,
    made_ready,
)
from supervisor.control.language.kinds import Choice, Time, shown
from supervisor.control.language.lookups import Unfit
from supervisor.control.language.outcome import (
    ANY_SORT,
    VARIABLE,
    Change,
    Comparison,
    Confirm,
    Draft,
    Drafted,
    Outcome,
    Replacement,
    Reply,
    Rollback,
    ThingName,
    Trial,
)
from supervisor.control.language.replytext import noted
from supervisor.control.words import CommandRefused, Word, phrase, split
from supervisor.runtime.together import together

_BEGIN_FIRST = "no draft is begun on this connection; say `draft begin` first"


def _draft(context: CommandContext) -> Draft:
    if context.draft is None:
        raise CommandRefused(_BEGIN_FIRST)
    return context.draft


def _begin(context: CommandContext, _arguments: Arguments) -> Outcome:
    if context.draft is not None:
        raise CommandRefused("a draft is begun already; `draft drop` forgets it")
    return Drafted("a draft is begun", draft=Draft(context.first))


def _say(context: CommandContext, arguments: Arguments) -> Outcome:
    draft = _draft(context)
    words: Sequence[Word] = arguments["command"]
    try:
        outcome = _change_by(context, draft.config, words)
    except CommandRefused as refused:
        follows = not refused.of_form and _looks_at_doubtful(context, draft, words)
        text = f"{FOLLOWS}{refused.text}" if follows else refused.text
        doubtful = draft.doubtful | names_set_by(context, words)
        raise Spoilt(text, refused.column, replace(draft, doubtful=doubtful)) from None
    drafted = replace(draft, config=outcome.config, seed=_mixed(draft.seed, outcome.seed))
    return Drafted("drafted", draft=drafted)


class Spoilt(CommandRefused):
    """A command of a draft is refused; `draft` is what the draft is from here on."""

    def __init__(self, text: str, column: int | None, draft: Draft) -> None:
        super().__init__(text, column)
        self.draft = draft


def _change_by(context: CommandContext, config: Config, words: Sequence[Word]) -> Change:
    """What a command makes of a draft's config. Raises CommandRefused, NeedsLookup."""
    command, _ = context.language.match(words)
    head = shown(" ".join(command.shape.head))
    if command.one_off:
        raise CommandRefused(f"{head} cannot stand in a configuration: it is done once", words[0].column, True)
    outcome = context.language.execute(words, context_with(context, config)) if command.changes else None
    if not isinstance(outcome, Change):
        raise CommandRefused(f"{head} cannot stand in a configuration: it sets nothing", words[0].column, True)
    return outcome


def names_set_by(context: CommandContext, words: Sequence[str]) -> frozenset[ThingName]:
    """What these words set, or were meant to set."""
    sorts = context.config.things
    match [str(word) for word in words]:
        case ["set", name, *_]:
            return frozenset({ThingName(VARIABLE, name)})
        case [sort, "conf" | "add" | "load" | "del", ident, *_] if sort in sorts:
            return frozenset({ThingName(sort, ident), ThingName(sort, sort)})
        case [head, *others] if not context.language.next_words([head]) and head not in context.language.next_words(()):
            return frozenset(ThingName(ANY_SORT, other) for other in others)
        case [_, _, *others]:
            return frozenset(ThingName(ANY_SORT, other) for other in others[:1])
    return frozenset()


def _looks_at_doubtful(context: CommandContext, draft: Draft, words: Sequence[Word]) -> bool:
    """Whether a command, carried out once more, looks for something that a refused command would have set."""
    if not draft.doubtful:
        return False
    seen: set[ThingName] = set()
    config = replace(
        draft.config,
        variables=_Noted(VARIABLE, draft.config.variables, seen),
        things={sort: _Noted(sort, things, seen) for sort, things in draft.config.things.items()},
    )
    with contextlib.suppress(CommandRefused):
        _change_by(context, config, words)
    return any(name in draft.doubtful or ThingName(ANY_SORT, name.id) in draft.doubtful for name in seen)


class _Noted(dict[str, Any]):
    """The variables, or the things of a sort, as a mapping that notes which names are looked up in it."""

    def __init__(self, sort: str, content: Mapping[str, Any], seen: set[ThingName]) -> None:
        super().__init__(content)
        self._sort = sort
        self._seen = seen

    def __getitem__(self, key: str) -> Any:
        self._seen.add(ThingName(self._sort, key))
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._seen.add(ThingName(self._sort, str(key)))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._seen.add(ThingName(self._sort, key))
        return super().get(key, default)


def _mixed(seed: bytes, more: bytes) -> bytes:
    """What several `prng` commands feed, in a length that does not grow with their number."""
    return hashlib.sha512(seed + more).digest() if seed and more else seed or more


def _drop(context: CommandContext, _arguments: Arguments) -> Outcome:
    _draft(context)
    return Drafted("the draft is dropped", draft=None)


def _show(context: CommandContext, _arguments: Arguments) -> Outcome:
    config = _as_running(_draft(context).config, context.config)
    compared = made_ready(context, Comparison(config=config))
    found = difference(context, compared.config)
    return Reply(f"{found.summary()}{compared.text}", data=found.data(), lines=found.text_lines())


def _check(context: CommandContext, _arguments: Arguments) -> Outcome:
    try:
        _, found = _applicable(context)
    except Incomplete as lacking:
        return Trial(config=lacking.rest, faults=lacking.text)
    # As a start would do it: what runs may have read a certificate that is not there any more.
    anew = made_ready(_as_in_force(context, context.first), Change(config=_draft(context).config))
    return Trial(f"good, {found.summary()}; nothing was changed{anew.text}", config=anew.config)


def _apply(context: CommandContext, arguments: Arguments) -> Outcome:
    try:
        change, found = _applicable(context)
    except Incomplete as lacking:
        return Trial(config=lacking.rest, faults=lacking.text)
    if not found:
        text = f"{NOTHING_DIFFERS}; generation {context.config.generation} stays in force{change.text}"
        return Drafted(text, found.data(), (), draft=None)
    seconds = arguments["time"]
    more = f"; say `confirm` within {seconds} s (pcontrol confirm), or the one before comes back" if seconds else ""
    stuck = _not_now(_as_in_force(context, change.config), context.config) if seconds else {}
    more = noted(more, f"all but {', '.join(stuck)}: {'; '.join(stuck.values())}" if stuck else None)
    return Replacement(
        f"in force: {found.summary()}{more}{change.text}",
        found.data(),
        (),
        config=change.config,
        seed=_draft(context).seed,
        entries=change.entries,
        confirm_seconds=seconds,
    )


def _applicable(context: CommandContext) -> tuple[Change, Difference]:
    """The draft as it would run, with what it needs from outside (the text has notes of that), and what differs.

    Raises NeedsLookup, and CommandRefused where it cannot be so now.
    """
    change = made_ready(context, Change(config=_as_running(_draft(context).config, context.config)))
    if stuck := _not_now(context, change.config):
        raise CommandRefused(together(f"{name}: {why}" for name, why in stuck.items()))
    return change, difference(context, change.config)


def _as_in_force(context: CommandContext, config: Config) -> CommandContext:
    """The context as it will be when this config runs."""
    return replace(context_with(context, config), running=None, starting=False)


def _as_running(config: Config, running: Config) -> Config:
    """The config, with the running one's own objects where they are equal: those know what they have loaded."""
    things = {
        sort: {ident: _same(thing, running.things[sort].get(ident)) for ident, thing in wanted.items()}
        for sort, wanted in config.things.items()
    }
    return replace(config, things=things)


def _same(thing: Any, running: Any) -> Any:
    return running if running == thing else thing


def _not_now(context: CommandContext, config: Config) -> Mapping[str, str]:
    """The variables whose values of this config are refused as things are now, and why."""
    why: dict[str, str] = {}
    there = context_with(context, config)
    for row in context.program.variables:
        if row.check is None or row.read_only or config.variables[row.name] == context.config.variables[row.name]:
            continue
        try:
            row.check(there, config.variables[row.name])
        except (CommandRefused, Unfit) as refused:
            why[row.name] = getattr(refused, "text", str(refused))
    return why


def _confirm(context: CommandContext, _arguments: Arguments) -> Outcome:
    if context.past is None or context.past.seconds_left is None:
        raise CommandRefused("no confirmation is awaited")
    return Confirm("the configuration stays")


def _rollback(context: CommandContext, _arguments: Arguments) -> Outcome:
    if context.past is None:
        raise CommandRefused("there is nothing to go back to: no configuration was applied as a whole")
    before = context.past.config
    kept = {name: context.config.variables[name] for name in _not_now(context, before)}
    given = before.given | (context.config.given & kept.keys())
    config = _as_running(replace(before, variables={**before.variables, **kept}, given=given), context.config)
    note = f"; note: as it was it cannot be again, so it stays: {', '.join(kept)}" if kept else ""
    return Rollback(f"the configuration before the last apply is in force again{note}", config=config)


def _next_words(context: CommandContext, arguments: Arguments) -> Sequence[str]:
    begun = phrase(arguments["command"])
    on_draft = context_with(context, context.draft.config if context.draft is not None else context.first)
    return [split(word)[0] for word in context.language.complete(f"{begun} " if begun else "", on_draft)]


def draft_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            "draft begin",
            _begin,
            "Begins a draft of a whole configuration on this connection.\nIt begins with what the start options say, "
            "and belongs to the connection: when that ends the draft is gone. `pcontrol check` and `pcontrol apply` do "
            "all this with a file.",
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "draft say <command>…",
            _say,
            "Adds a command to the draft.\nIt is checked at once, in the order in which it is said. If it is refused "
            "the draft stays as it was; a later one that is refused for want of it says that it follows from that. "
            "Commands that set nothing, and actions such as shutdown, cannot be in a draft.",
            {"command": _next_words},
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "draft show",
            _show,
            "Shows what differs between the running configuration and the draft.\nLines that would go begin with -, "
            "those that would come with +; what is new, gone or changed is named after them, and what is said "
            "otherwise and works alike: only one of the two says what is a default.",
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "draft check",
            _check,
            "Tries the draft in full and takes it back.\nNew ports are opened, certificates are read, and every worker "
            "starts the modules, also those that run unchanged; then all is given back. The running configuration does "
            "not notice.",
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "draft apply [<option> <time>]",
            _apply,
            "Puts the draft into force, as one generation in all workers, or changes nothing.\nWith `confirm 60s` the "
            "configuration before comes back by itself unless `confirm` is said within that time; until then no other "
            "change is allowed.",
            {"option": Choice("confirm"), "time": Time(1, DAY)},
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand("draft drop", _drop, "Forgets the draft of this connection.", source=BESIDE, one_off=True),
        ControlCommand(
            "confirm",
            _confirm,
            "Keeps the configuration that `draft apply confirm TIME` has put into force.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            ROLLBACK,
            _rollback,
            "Goes back to the configuration before the last `draft apply`.\nWhatever was said since is undone too, "
            "except that maxsession is not lowered. It works once for each apply, also after `confirm`.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
    ]
