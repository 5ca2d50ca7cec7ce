"""The commands about what the operator orders beside the configuration: drains, kicks, holds, locks; `state list`."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from popular.net.networks import NetworkList
from popular.proxy.namesakes import NAMESAKE
from popular.proxy.settings.accounts import found_user
from popular.proxy.settings.cluster import shared, tell_kicked
from popular.proxy.settings.kinds import USER_NAMESPACE
from popular.proxy.settings.moving_together import is_moved_elsewhere
from popular.proxy.settings.order_sorts import (
    BACKEND,
    DRAINED_BACKEND,
    DRAINED_VSERV,
    HELD_USER,
    HOLD_SECONDS,
    LOCK_SECONDS,
    LOCKED_USER,
    LONGEST_DEADLINE,
    LONGEST_HOLD,
    MOVING_USER,
    NEW,
    ROUTED_USER,
    USER,
    VSERV,
    iso,
    user_key,
)
from popular.proxy.settings.order_sweeps import sweep_by
from popular.proxy.settings.pairs import OF_NAMESPACE, Said, listed_user, time_of, user_notes, user_of
from supervisor.control.commands.thing_commands import ids, named
from supervisor.control.commands.variables import BESIDE, DAY
from supervisor.control.language.context import Arguments, CommandContext, Completer, ControlCommand
from supervisor.control.language.kinds import Choice, shown
from supervisor.control.language.lookups import Unfit
from supervisor.control.language.outcome import Ordered, Outcome, Reply, SessionSweep
from supervisor.control.words import CommandRefused, Word, refuse_twice
from supervisor.operatorstate import SHARED, UNDO, OrderEntry
from supervisor.runtime.plural import count_of

NETWORK = "network"
_KICKED = (USER, NETWORK, BACKEND, VSERV)
_EVERYWHERE = "cluster"
_OF_KICK = ("deadline TIME", "namespace NAME", "vserv NAME", _EVERYWHERE)
_YEAR = 366 * DAY
_DRAINS = {BACKEND: DRAINED_BACKEND, VSERV: DRAINED_VSERV}
_ABOUT_USERS = {HELD_USER: "held", LOCKED_USER: "locked", MOVING_USER: "being moved", ROUTED_USER: "moved"}


def _orders(context: CommandContext, sort: str) -> Mapping[str, Mapping[str, Any]]:
    return {one.id: one.value or {} for one in context.status.operator.entries(time.time()) if one.sort == sort}


def _state(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = [
        {"sort": sort, "id": ident, "until": iso((value or {}).get("until")), "what": _what(value or {})}
        for sort, ident, value in sorted(context.status.operator.entries(time.time()), key=lambda entry: entry[:2])
        if sort != SHARED or ident == NAMESAKE
    ]
    return Reply(count_of(len(rows), "order"), data=rows, lines=None if rows else ["nothing is ordered"])


def _what(value: Mapping[str, Any]) -> str:
    """In the order of the alphabet, as the file has it: before a restart and after it the same."""
    said = {word: text for word, text in sorted(value.items()) if word not in ("until", UNDO) and text is not None}
    return ", ".join(f"{word} {iso(text) if word in ('since', 'deadline') else text}" for word, text in said.items())


# Drains and kicks


def _drain(sort: str, context: CommandContext, arguments: Arguments) -> Outcome:
    ident = str(named(sort, arguments["id"], context).id)
    said = Said(arguments, ("deadline", NEW) if sort == BACKEND else ("deadline",))
    deadline, new = time_of(said.get("deadline"), 0, LONGEST_DEADLINE), str(said.get(NEW) or "refuse")
    if new not in ("refuse", "hold", "fake"):
        raise CommandRefused(f"{NEW}: {shown(new)} is unknown; allowed: hold, fake, refuse", said[NEW].column)
    value = {"since": time.time(), NEW: new, "deadline": None if deadline is None else time.time() + deadline}
    return sweep_by(OrderEntry(_DRAINS[sort], ident, value), f"{sort} {ident} is drained", deadline=deadline)


def _undrain(sort: str, context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["id"]
    if word not in _orders(context, _DRAINS[sort]):
        raise CommandRefused(f"{sort} {shown(word)} is not drained; `state list` lists what is", word.column)
    entry = OrderEntry(_DRAINS[sort], str(word))
    return Ordered(f"{sort} {word} is drained no more", entries=(entry,))


def _kick(context: CommandContext, arguments: Arguments) -> Outcome:
    sort, word = arguments["what"], arguments["whom"]
    pairs, everywhere = _with_cluster(arguments["word"] or [])
    said = Said(pairs, ("deadline", "namespace", VSERV) if sort == USER else ("deadline",))
    ident = _whom(sort, word, said, context=context)
    notes = user_notes(word, said, ident.partition(":")[0], context=context) if sort == USER else ()
    deadline = time_of(said.get("deadline"), 0, LONGEST_DEADLINE)
    if everywhere and sort not in (USER, NETWORK):
        raise CommandRefused(f"of a {sort} each proxy has its own; {_EVERYWHERE} is for {USER} and {NETWORK}")
    told = tell_kicked(context, sort, ident, deadline=deadline) if everywhere else None
    # Told when nothing hinders it any more: what is refused here has kicked nobody elsewhere.
    text = f"{sort} {word}"
    sweep = partial(SessionSweep, text, sort=sort, id=ident, gentle=True, deadline=deadline, notes=notes)
    return sweep(told=told, surely_told=everywhere)


def _with_cluster(words: Sequence[Word]) -> tuple[dict[str, list[Word]], bool]:
    """The words and values of `[deadline TIME] [namespace NAME] [cluster]`, and whether the last one is there."""
    pairs: dict[str, list[Word]] = {"word": [], "value": []}
    rest, everywhere = list(words), False
    while rest:
        word = rest.pop(0)
        if word.lower() == _EVERYWHERE:
            everywhere = True
        elif not rest:
            raise CommandRefused(f"{shown(word)} has no value; allowed: {', '.join(_OF_KICK)}", word.column)
        else:
            pairs["word"].append(word)
            pairs["value"].append(rest.pop(0))
    refuse_twice(pairs["word"], pairs["word"])
    return pairs, everywhere


def _whom(sort: str, word: Word, said: Said, *, context: CommandContext) -> str:
    if sort == USER:
        if VSERV in said:
            said["namespace"] = _namespace_at(said[VSERV], said, context)
        return found_user(context, *user_of(word, said, context)).key
    if sort != NETWORK:
        return str(word) if _serves(sort, word, context) else str(named(sort, word, context).id)
    try:
        (network,) = NetworkList().parse(word, context.lookups).networks
    except (Unfit, ValueError):
        raise CommandRefused(
            f"{shown(word)} is not one network; allowed: 192.0.2.0/24, 2001:db8::/32, or an address", word.column
        ) from None
    return str(network)


def _serves(sort: str, ident: str, context: CommandContext) -> bool:
    """Whether a thing is gone from the configuration, and sessions that began under it are still there."""
    return ident not in context.config.things[sort] and any(row[sort] == ident for row in context.status.sessions())


def _namespace_at(vserv: Word, said: Said, context: CommandContext) -> Word:
    """The namespace of a virtual server's users. Raises CommandRefused."""
    if "namespace" in said:
        raise CommandRefused("say the namespace or the virtual server, not both", vserv.column)
    namespace = str(named(VSERV, vserv, context).namespace)
    if namespace == USER_NAMESPACE:
        raise CommandRefused(
            f"the users of {shown(vserv)} say their namespace themselves; say which: `namespace NAME`", vserv.column
        )
    return Word(namespace, vserv.column)


def _kicks(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = context.status.sweeps()
    return Reply(count_of(len(rows), "sweep"), data=rows, lines=None if rows else ["nobody is to leave"])


# Users


def _hold(context: CommandContext, arguments: Arguments) -> Outcome:
    said = Said(arguments, ("for", "namespace"))
    whom = found_user(context, *user_of(arguments["user"], said, context))
    key, notes = whom.key, user_notes(arguments["user"], said, whom.namespace, context=context)
    seconds = time_of(said.get("for"), 1, LONGEST_HOLD)
    if key in _orders(context, MOVING_USER) or is_moved_elsewhere(context, key):
        raise CommandRefused(f"user {key} is being moved, and held by that", arguments["user"].column)
    value = {"since": time.time(), "seconds": seconds or HOLD_SECONDS}
    longest = min(value["seconds"], context.config.variables["authtimeout"] or value["seconds"])
    text = f"user {key} is held: a login waits {longest:g} s at most"
    return Ordered(text, notes=notes, **shared(context, OrderEntry(HELD_USER, key, value)))


def _lock(context: CommandContext, arguments: Arguments) -> Outcome:
    said, now = Said(arguments, ("until", "deadline", "namespace")), time.time()
    whom = found_user(context, *user_of(arguments["user"], said, context))
    key, notes = whom.key, user_notes(arguments["user"], said, whom.namespace, context=context)
    seconds = time_of(said.get("until"), 1, _YEAR)
    deadline = time_of(said.get("deadline"), 0, LONGEST_DEADLINE)
    deadline = LOCK_SECONDS if deadline is None else deadline
    value = {"since": now, "until": None if seconds is None else now + seconds, "deadline": now + deadline}
    entry = OrderEntry(LOCKED_USER, key, value)
    return sweep_by(entry, f"user {key} is locked", deadline=deadline, notes=notes, **shared(context, entry))


def _end_of(sort: str, context: CommandContext, arguments: Arguments) -> Outcome:
    word, said = arguments["user"], Said(arguments, ("namespace",))
    what, ordered = _ABOUT_USERS[sort], _orders(context, sort)
    whom = listed_user(word, said, context, listed=ordered)
    key = user_key(*whom)
    if key not in ordered:  # else it is ended as it was said, whatever modules say by now
        key = found_user(context, *whom).key
    if key not in ordered:
        raise CommandRefused(f"user {key} is not {what}; `user list` lists those who are", word.column)
    if sort == HELD_USER and is_moved_elsewhere(context, key):
        end = iso(ordered[key].get("until"))
        text = f"user {key} is being moved by another proxy of the cluster, and is released by that"
        raise CommandRefused(f"{text}, at {end} at the latest", word.column)
    if sort == HELD_USER and key in _orders(context, MOVING_USER):
        raise CommandRefused(f"user {key} is being moved, and is released by that", word.column)
    return Ordered(f"user {key} is {what} no more", **shared(context, OrderEntry(sort, key)))


def _users(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = [
        {"user": ident, "is": what, "until": iso(value.get("until")), "what": _what(value)}
        for sort, what in _ABOUT_USERS.items()
        for ident, value in _orders(context, sort).items()
    ]
    return Reply(count_of(len(rows), "order"), data=rows, lines=None if rows else ["nothing is ordered about any user"])


def _drained(sort: str) -> Completer:
    return lambda context, _arguments: list(_orders(context, _DRAINS[sort]))


def _nobody(_context: CommandContext, _arguments: Arguments) -> list[str]:
    return []


def _values(_context: CommandContext, arguments: Arguments) -> list[str]:
    word = arguments["word"][-1] if arguments["word"] else ""
    return ["hold", "fake", "refuse"] if word == NEW else []


def _words_of_kick(_context: CommandContext, _arguments: Arguments) -> list[str]:
    return [text.partition(" ")[0] for text in _OF_KICK]


def _those(context: CommandContext, arguments: Arguments) -> list[str]:
    return list(context.config.things[arguments["what"]]) if arguments["what"] in (BACKEND, VSERV) else []


_row = partial(ControlCommand, source=BESIDE)
_order = partial(_row, changes=True, one_off=True)
_LEFT = (
    "The reply says what the sessions that are there would lose; `kick list` how many are left, and `pcontrol --wait` "
    "waits for them."
)


def operator_commands() -> list[ControlCommand]:
    """The rows."""
    user = {"user": _nobody, "value": _values}
    return [
        _row(
            "state list",
            _state,
            "Lists what is ordered beside the configuration: what is blocked, drained, held, locked or moved.\nIt is "
            "kept in the state directory (--statedir), stays in force over `apply` and a restart, and is not in "
            "`show config`.",
        ),
        _order(
            "backend drain <id> [<word> <value>]…",
            partial(_drain, BACKEND),
            "Lets nobody new come in to a backend; the sessions that are there end by themselves.\nUsers of it get "
            "[SYS/TEMP]; with `new hold` they wait for the end of the drain, half a minute at most; with `new fake` "
            "they see an empty mailbox. `deadline 10m`: who is still there then is ended, with deletes that are not "
            f"committed too, but after QUIT a minute later. The parameter `state` is not touched. {_LEFT}",
            {"id": ids(BACKEND), "word": Choice("deadline", NEW), "value": _values},
        ),
        _order(
            "backend undrain <id>",
            partial(_undrain, BACKEND),
            "Lets users come in to a backend again.",
            {"id": _drained(BACKEND)},
        ),
        _order(
            "vserv drain <id> [<word> <value>]…",
            partial(_drain, VSERV),
            "Lets nobody new log in at a virtual server: [SYS/TEMP]; the sessions that are there end by themselves.\n"
            f"`deadline 10m` as for `backend drain`. {_LEFT}",
            {"id": ids(VSERV), "word": Choice("deadline"), "value": _values},
        ),
        _order(
            "vserv undrain <id>",
            partial(_undrain, VSERV),
            "Lets users log in at a virtual server again.",
            {"id": _drained(VSERV)},
        ),
        _order(
            "kick <what> <whom> [<word>]…",
            _kick,
            "Ends the sessions of a user, a network, a backend or a virtual server that are there now, as gently as "
            "can be.\nAt once those that lose nothing; who is in the middle of a transfer when that is done; who has "
            "deleted mail and not said QUIT ends by himself, or at the `deadline`; who has said QUIT gets his reply, "
            "if it comes within a minute of that. A client is told nothing: POP3 has no word for it, and a connection "
            f"that ends says that nothing was deleted. {_LEFT} With `cluster` after it the other proxies of the "
            "cluster do the same with a user or a network, a moment later: `kick user joe deadline 1m cluster`. "
            f"{OF_NAMESPACE} Or he is of the namespace of the `vserv`.",
            {"what": Choice(*_KICKED), "whom": _those, "word": _words_of_kick},
        ),
        _row(
            "kick list", _kicks, "Lists the drains and kicks whose sessions are not all gone, with how many are left."
        ),
        _order(
            "user hold <user> [<word> <value>]…",
            _hold,
            f"Lets the logins of a user wait: for {HOLD_SECONDS:g} s at most, or `for 10s`, never beyond authtimeout; "
            f"then they get [SYS/TEMP].\nSessions that are there go on. {OF_NAMESPACE}",
            {"word": Choice("for", "namespace"), **user},
        ),
        _order(
            "user release <user> [<word> <value>]…",
            partial(_end_of, HELD_USER),
            "Lets the logins of a user go on.",
            {"word": Choice("namespace"), **user},
        ),
        _order(
            "user lock <user> [<word> <value>]…",
            _lock,
            "Refuses a user as if his password were wrong, and ends his sessions as `kick` does, all of them within "
            f"{LOCK_SECONDS} s.\n`deadline 1m` leaves who is in a transfer, or has deleted mail and not said QUIT, so "
            "much time; `deadline 0` none: deletes that are not committed are lost. Who has said QUIT has his reply, "
            "if it comes within a minute of that. `until 2d` ends by itself. " + OF_NAMESPACE,
            {"word": Choice("until", "deadline", "namespace"), **user},
        ),
        _order(
            "user unlock <user> [<word> <value>]…",
            partial(_end_of, LOCKED_USER),
            "Lets a locked user log in again.",
            {"word": Choice("namespace"), **user},
        ),
        _row("user list", _users, "Lists the users who are held, locked or moved."),
    ]
