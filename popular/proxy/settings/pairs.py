"""What stands after a command as pairs of a word and a value: only those that fit."""

from collections.abc import Container, Mapping, Sequence

from popular.proxy.settings.kinds import USER_NAMESPACE
from supervisor.control.language.context import Arguments, CommandContext
from supervisor.control.language.kinds import Id, Time, nearest, shown
from supervisor.control.language.language import fit
from supervisor.control.language.lookups import Lookups
from supervisor.control.words import CommandRefused, Word

OF_NAMESPACE = (
    "A user is of the `namespace`, which may stand in front of him too (default:joe), or be left out where there is "
    "one."
)
"""For the help of commands that name a user by `user_of`."""


class Said(dict[str, Word]):
    """The values, by word; that none is there twice the language sees to. Raises CommandRefused."""

    def __init__(self, arguments: Arguments, allowed: Sequence[str]) -> None:
        super().__init__(zip(arguments["word"] or [], arguments["value"] or [], strict=True))
        for word, value in self.items():
            if word not in allowed:
                raise CommandRefused(f"{word} does not fit here; allowed: {', '.join(allowed)}", value.column)


def time_of(word: Word | None, low: int, high: int) -> int | None:
    """Seconds; None: not said. Raises CommandRefused."""
    return None if word is None else int(fit(Time(low, high), word, Lookups(), what="time"))


def user_of(word: Word, said: Mapping[str, Word], context: CommandContext) -> tuple[str, str]:
    """Namespace and name of a user: NAMESPACE:USER, or `namespace` after it, or where there is one neither.

    Raises CommandRefused.
    """
    in_front, name = split_key(word, context)
    if not name or not name.isprintable():
        raise CommandRefused("that is no name of a user", word.column)
    behind = str(fit(Id(), said["namespace"], Lookups(), what="namespace")) if "namespace" in said else ""
    if in_front and behind and in_front != behind:
        raise CommandRefused(f"{shown(word)} is of namespace {in_front}, and not of {behind}", word.column)
    there = _namespaces(context)
    is_said_by_clients = any(one.namespace == USER_NAMESPACE for one in context.config.things["vserv"].values())
    if not in_front and not behind and ":" in name and is_said_by_clients:
        raise CommandRefused(
            f"{shown(word)}: no virtual server has what stands in front of the colon, but where clients say their "
            "namespace it may be one; say which: `namespace NAME`",
            word.column,
        )
    if not in_front and not behind and len(there) > 1:
        raise CommandRefused(f"say which namespace: `namespace NAME`; there are: {', '.join(sorted(there))}")
    return in_front or behind or there.pop(), name


def listed_user(
    word: Word, said: Mapping[str, Word], context: CommandContext, *, listed: Container[str]
) -> tuple[str, str]:
    """A user as `user list` prints him, though no virtual server may have his namespace any more; or as `user_of` has
    him. `listed`: the orders among which he is looked for.
    """
    namespace, _colon, name = word.partition(":")
    return (namespace, name) if not said and str(word) in listed else user_of(word, said, context)


def user_notes(word: str, said: Container[str], namespace: str, *, context: CommandContext) -> tuple[str, ...]:
    """What may be meant so, or be a slip, in how a user of this namespace was named: that nobody can log in with a
    namespace, or that what looks like one was taken for a part of his name. Where clients say theirs it may be any.
    """
    vservs = context.config.things["vserv"].values()
    there = sorted({str(one.namespace) for one in vservs})
    if USER_NAMESPACE in there or not there:
        return ()
    in_front, colon, _name = word.partition(":")
    notes = []
    if namespace not in there:
        notes.append(f"no virtual server has the namespace {namespace}{nearest(namespace, there)}")
    if colon and "namespace" not in said and in_front not in there:
        whole = f"{word} is the name of a user of namespace {namespace}"
        notes.append(f"{whole}: no virtual server has the namespace {in_front}{nearest(in_front, there)}")
    return tuple(notes)


def split_key(word: str, context: CommandContext) -> tuple[str, str]:
    """The namespace in front of NAMESPACE:USER, and the name; the namespace is "" where none is said. A colon may be in
    a name too: what stands in front of it counts if a virtual server has that namespace.
    """
    namespace, colon, user = word.partition(":")
    if colon and namespace in _namespaces(context):
        return namespace, user
    return "", str(word)  # a Word knows its column, and cannot travel to the workers


def _namespaces(context: CommandContext) -> set[str]:
    """Where users are who name none."""
    default = str(context.config.variables["defaultns"])
    vservs = context.config.things["vserv"].values()
    return {default if one.namespace == USER_NAMESPACE else str(one.namespace) for one in vservs} or {default}
