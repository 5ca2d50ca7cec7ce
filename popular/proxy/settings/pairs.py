"""What stands behind a command as pairs of a word and a value: each once, and only those that fit."""

from collections.abc import Sequence

from popular.proxy.settings.variables import USER_NAMESPACE
from supervisor.control.context import Arguments, CommandContext
from supervisor.control.kinds import Id, Time, nearest
from supervisor.control.language import fit
from supervisor.control.lookups import Lookups
from supervisor.control.words import CommandRefused, Word


class Said(dict[str, Word]):
    """The values, by word. Raises CommandRefused."""

    def __init__(self, arguments: Arguments, allowed: Sequence[str]) -> None:
        words, values = arguments["word"] or [], arguments["value"] or []
        super().__init__(zip(words, values, strict=True))
        if len(self) < len(words):
            raise CommandRefused("a word is there twice", of_form=True)
        for word, value in self.items():
            if word not in allowed:
                raise CommandRefused(f"{word} does not fit here; allowed: {', '.join(allowed)}", value.column)


def time_of(word: Word | None, low: int, high: int) -> int | None:
    """Seconds; None: not said. Raises CommandRefused."""
    return None if word is None else int(fit(Time(low, high), word, Lookups(), what="time"))


def user_of(word: Word, said: Said, context: CommandContext) -> tuple[str, str]:
    """Namespace and name of a user. The namespace may be left out where there is one. Raises CommandRefused."""
    if not word or not word.isprintable():
        raise CommandRefused("that is no name of a user", word.column)
    if "namespace" in said:
        return str(fit(Id(), said["namespace"], Lookups(), what="namespace")), str(word)
    there = _namespaces(context)
    if len(there) > 1:
        raise CommandRefused(f"say which namespace: `namespace NAME`; there are: {', '.join(sorted(there))}")
    return there.pop(), str(word)


def namespace_notes(namespace: str, context: CommandContext) -> tuple[str, ...]:
    """That nobody can log in with a namespace: an order about its users may be meant so, or be a slip. Where clients
    say theirs themselves it may be any.
    """
    vservs = context.config.things["vserv"].values()
    if any(one.namespace in (namespace, USER_NAMESPACE) for one in vservs):
        return ()
    there = sorted({str(one.namespace) for one in vservs})
    return (f"no virtual server has the namespace {namespace}{nearest(namespace, there)}",) if there else ()


def split_key(word: str, context: CommandContext) -> tuple[str, str]:
    """The namespace in front of NAMESPACE:USER, and the name; the namespace is "" where none is said. A colon may be in
    a name too: what stands in front of it counts if a virtual server has that namespace.
    """
    namespace, colon, user = word.partition(":")
    if colon and namespace in _namespaces(context):
        return namespace, user
    return "", word


def _namespaces(context: CommandContext) -> set[str]:
    """Where users are who name none."""
    default = str(context.config.variables["defaultns"])
    vservs = context.config.things["vserv"].values()
    return {default if one.namespace == USER_NAMESPACE else str(one.namespace) for one in vservs} or {default}
