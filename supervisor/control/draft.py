"""Whole configurations: draft, check, apply, confirm, rollback. The sentences behind `pcontrol check` and `apply`.

A draft belongs to the control connection on which it was begun, and is gone with it. It begins where the program began,
with what its start options say; every `draft say SENTENCE` adds to it, and nothing is in force before `draft apply`
puts all of it into force as one generation, or nothing. Rules about single steps, such as "port only while offline",
compare with what the draft says before, and so never with what is running.

The deeds are pure: the clerk keeps the draft, and the config to go back to.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from supervisor.config import Config
from supervisor.control.difference import Difference, difference
from supervisor.control.facts import Unfit
from supervisor.control.kinds import Choice, Time, shown
from supervisor.control.language import Refused, Sentence, Word, phrase, split
from supervisor.control.outcome import (
    ANY_SORT,
    VARIABLE,
    Arguments,
    Change,
    Confirm,
    Desk,
    Draft,
    Drafted,
    Name,
    Outcome,
    Replacement,
    Reply,
    Rollback,
    Trial,
    View,
    desk_with,
    noted,
)
from supervisor.control.rcfile import FOLLOWS, ROLLBACK
from supervisor.control.variables import BESIDE, DAY

_BEGIN_FIRST = "no draft is begun on this connection; say `draft begin` first"


def _draft(desk: Desk) -> Draft:
    if desk.draft is None:
        raise Refused(_BEGIN_FIRST)
    return desk.draft


def _begin(desk: Desk, _arguments: Arguments) -> Outcome:
    if desk.draft is not None:
        raise Refused("a draft is begun already; `draft drop` forgets it")
    return Drafted("a draft is begun", draft=Draft(desk.first))


def _say(desk: Desk, arguments: Arguments) -> Outcome:
    draft = _draft(desk)
    words: Sequence[Word] = arguments["sentence"]
    try:
        outcome = _change_by(desk, draft.config, words)
    except Refused as refused:
        follows = not refused.of_form and _looks_at_doubtful(desk, draft, words)
        text = f"{FOLLOWS}{refused.text}" if follows else refused.text
        doubtful = draft.doubtful | names_set_by(desk, words)
        raise Spoilt(text, refused.column, replace(draft, doubtful=doubtful)) from None
    drafted = replace(draft, config=outcome.config, seed=_mixed(draft.seed, outcome.seed))
    return Drafted("drafted", draft=drafted)


class Spoilt(Refused):
    """A command of a draft is refused; `draft` is what the draft is from here on."""

    def __init__(self, text: str, column: int | None, draft: Draft) -> None:
        super().__init__(text, column)
        self.draft = draft


def _change_by(desk: Desk, config: Config, words: Sequence[Word]) -> Change:
    """What a command makes of a draft's config. Raises Refused, Wanted."""
    sentence, _ = desk.language.find(words)
    head = shown(" ".join(sentence.shape.head))
    if sentence.order:
        raise Refused(f"{head} cannot stand in a configuration: it is an order, done once", words[0].column, True)
    outcome = desk.language.answer(words, desk_with(desk, config)) if sentence.changes else None
    if not isinstance(outcome, Change):
        raise Refused(f"{head} cannot stand in a configuration: it sets nothing", words[0].column, True)
    return outcome


def names_set_by(desk: Desk, words: Sequence[str]) -> frozenset[Name]:
    """What these words set, or were meant to set."""
    sorts = desk.config.things
    match [str(word) for word in words]:
        case ["set", name, *_]:
            return frozenset({Name(VARIABLE, name)})
        case [sort, "conf" | "add" | "load" | "del", ident, *_] if sort in sorts:
            return frozenset({Name(sort, ident), Name(sort, sort)})
        case [head, *others] if not desk.language.next_words([head]) and head not in desk.language.next_words(()):
            return frozenset(Name(ANY_SORT, other) for other in others)
        case [_, _, *others]:
            return frozenset(Name(ANY_SORT, other) for other in others[:1])
    return frozenset()


def _looks_at_doubtful(desk: Desk, draft: Draft, words: Sequence[Word]) -> bool:
    """Whether a command, carried out once more, looks for something that a refused command would have set."""
    if not draft.doubtful:
        return False
    seen: set[Name] = set()
    config = replace(
        draft.config,
        variables=_Noted(VARIABLE, draft.config.variables, seen),
        things={sort: _Noted(sort, things, seen) for sort, things in draft.config.things.items()},
    )
    with contextlib.suppress(Refused):
        _change_by(desk, config, words)
    return any(name in draft.doubtful or Name(ANY_SORT, name.id) in draft.doubtful for name in seen)


class _Noted(dict[str, Any]):
    """The variables, or the things of a sort, that note what is looked for by its name."""

    def __init__(self, sort: str, content: Mapping[str, Any], seen: set[Name]) -> None:
        super().__init__(content)
        self._sort = sort
        self._seen = seen

    def __getitem__(self, key: str) -> Any:
        self._seen.add(Name(self._sort, key))
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._seen.add(Name(self._sort, str(key)))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._seen.add(Name(self._sort, key))
        return super().get(key, default)


def _mixed(seed: bytes, more: bytes) -> bytes:
    """What several `prng` sentences feed, in a length that does not grow with their number."""
    return hashlib.sha512(seed + more).digest() if seed and more else seed or more


def _drop(desk: Desk, _arguments: Arguments) -> Outcome:
    _draft(desk)
    return Drafted("the draft is dropped", draft=None)


def _show(desk: Desk, _arguments: Arguments) -> Outcome:
    found = difference(desk, _completed(desk).config)
    return Reply(found.summary(), data=found.data(), lines=found.text_lines())


def _check(desk: Desk, _arguments: Arguments) -> Outcome:
    _, found = _applicable(desk)
    # As a start would do it: what runs may have read a certificate that is not there any more.
    anew = desk.program.complete(_as_in_force(desk, desk.first), Change(config=_draft(desk).config))
    return Trial(f"good, {found.summary()}; nothing was changed{anew.text}", config=anew.config)


def _apply(desk: Desk, arguments: Arguments) -> Outcome:
    change, found = _applicable(desk)
    if not found:
        text = f"nothing differs; generation {desk.config.generation} stays in force"
        return Drafted(text, found.data(), (), draft=None)
    seconds = arguments["time"]
    more = f"; say `confirm` within {seconds} s (pcontrol confirm), or the one before comes back" if seconds else ""
    stuck = _not_now(_as_in_force(desk, change.config), desk.config) if seconds else {}
    more = noted(more, f"all but {', '.join(stuck)}: {'; '.join(stuck.values())}" if stuck else None)
    return Replacement(
        f"in force: {found.summary()}{more}{change.text}",
        found.data(),
        (),
        config=change.config,
        seed=_draft(desk).seed,
        entries=change.entries,
        confirm_seconds=seconds,
    )


def _completed(desk: Desk) -> Change:
    """The draft as it would run, with what it needs from outside; the text holds notes about that. Raises Wanted."""
    return desk.program.complete(desk, Change(config=_as_running(_draft(desk).config, desk.config)))


def _applicable(desk: Desk) -> tuple[Change, Difference]:
    """The same, and what differs. Raises Refused where a variable cannot be set so now."""
    change = _completed(desk)
    for name, why in _not_now(desk, change.config).items():
        raise Refused(f"{name}: {why}")
    return change, difference(desk, change.config)


def _as_in_force(desk: Desk, config: Config) -> Desk:
    """The desk as it will be when this config runs."""
    return View(config, desk.first, desk.program, desk.facts, desk.language, desk.limits, desk.status)


def _as_running(config: Config, running: Config) -> Config:
    """The same config; what is equal in the running one is that very thing, with all that it knows of itself."""
    things = {
        sort: {ident: _same(thing, running.things[sort].get(ident)) for ident, thing in wanted.items()}
        for sort, wanted in config.things.items()
    }
    return replace(config, things=things)


def _same(thing: Any, running: Any) -> Any:
    return running if running == thing else thing


def _not_now(desk: Desk, config: Config) -> Mapping[str, str]:
    """The variables whose values of this config are refused as things are now, and why."""
    why: dict[str, str] = {}
    for row in desk.program.variables:
        if row.check is None or row.read_only or config.variables[row.name] == desk.config.variables[row.name]:
            continue
        try:
            row.check(desk, config.variables[row.name])
        except (Refused, Unfit) as refused:
            why[row.name] = getattr(refused, "text", str(refused))
    return why


def _confirm(desk: Desk, _arguments: Arguments) -> Outcome:
    if desk.past is None or desk.past.seconds_left is None:
        raise Refused("no confirmation is awaited")
    return Confirm("the configuration stays")


def _rollback(desk: Desk, _arguments: Arguments) -> Outcome:
    if desk.past is None:
        raise Refused("there is nothing to go back to: no configuration was applied as a whole")
    before = desk.past.config
    kept = {name: desk.config.variables[name] for name in _not_now(desk, before)}
    config = _as_running(replace(before, variables={**before.variables, **kept}), desk.config)
    note = f"; note: as it was it cannot be again, so it stays: {', '.join(kept)}" if kept else ""
    return Rollback(f"the configuration before the last apply is in force again{note}", config=config)


def _next_words(desk: Desk, arguments: Arguments) -> Sequence[str]:
    begun = phrase(arguments["sentence"])
    on_draft = desk_with(desk, desk.draft.config if desk.draft is not None else desk.first)
    return [split(word)[0] for word in desk.language.complete(f"{begun} " if begun else "", on_draft)]


def draft_sentences() -> list[Sentence]:
    """The rows."""
    return [
        Sentence(
            "draft begin",
            _begin,
            "Begins a draft of a whole configuration on this connection.\nIt begins with what the start options say, "
            "and belongs to the connection: when that ends the draft is gone. `pcontrol check` and `pcontrol apply` do "
            "all this with a file.",
            source=BESIDE,
            order=True,
        ),
        Sentence(
            "draft say <sentence>…",
            _say,
            "Adds a sentence to the draft.\nIt is checked at once, in the order in which it is said. If it is refused "
            "the draft stays as it was; a later one that is refused for want of it says that it follows from that. "
            "Sentences that set nothing, and orders such as shutdown, cannot be in a draft.",
            {"sentence": _next_words},
            source=BESIDE,
            order=True,
        ),
        Sentence(
            "draft show",
            _show,
            "Shows what differs between the running configuration and the draft.\nLines that would go begin with -, "
            "those that would come with +; what is new, gone or changed is named behind them.",
            source=BESIDE,
            order=True,
        ),
        Sentence(
            "draft check",
            _check,
            "Tries the draft in full and takes it back.\nNew ports are opened, certificates are read, and every worker "
            "starts the modules, also those that run unchanged; then all is given back. The running configuration does "
            "not notice.",
            source=BESIDE,
            order=True,
        ),
        Sentence(
            "draft apply [<option> <time>]",
            _apply,
            "Puts the draft into force, as one generation in all workers, or changes nothing.\nWith `confirm 60s` the "
            "configuration before comes back by itself unless `confirm` is said within that time; until then no other "
            "change is allowed.",
            {"option": Choice("confirm"), "time": Time(1, DAY)},
            changes=True,
            source=BESIDE,
            order=True,
        ),
        Sentence("draft drop", _drop, "Forgets the draft of this connection.", source=BESIDE, order=True),
        Sentence(
            "confirm",
            _confirm,
            "Keeps the configuration that `draft apply confirm TIME` has put into force.",
            changes=True,
            source=BESIDE,
            order=True,
        ),
        Sentence(
            ROLLBACK,
            _rollback,
            "Goes back to the configuration before the last `draft apply`.\nWhatever was said since is undone too, "
            "except that maxsession is not lowered. It works once for each apply, also after `confirm`.",
            changes=True,
            source=BESIDE,
            order=True,
        ),
    ]
