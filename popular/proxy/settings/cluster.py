"""The variables and the command about several proxies that count together: `cluster`, `clusterpasswordfile`, `sessions
cluster`.

They share a server of Redis or Valkey; what lies there, and how it is asked, stands in popular/proxy/leases.py.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

from popular.pdm.contract import ModuleFailed
from popular.proxy import cluster_order_store, leases
from popular.proxy.cluster_order_store import StoredOrder
from popular.proxy.storeseen import NOTHING_KNOWN, KnownChange, end_of
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand, Variable
from supervisor.control.language.kinds import File, String
from supervisor.control.language.lookups import Job, Lookups, Unfit
from supervisor.control.language.outcome import Outcome, Reply
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import SHARED, OrderEntry
from supervisor.runtime.plural import count_of

CLUSTER, PASSWORDFILE = "cluster", "clusterpasswordfile"
OUR_NAME = "sidprefix"
"""The variable with our name among the proxies: by it the others know who has told them."""


@dataclass(frozen=True)
class FileOrNone(File):
    """An absolute path of a file, or "" for none."""

    def parse(self, text: str, lookups: Lookups) -> str:
        return super().parse(text, lookups) if text else ""


def _is_a_url(_context: CommandContext, value: str) -> None:
    try:
        leases.check_url(value)
    except ModuleFailed as error:
        raise CommandRefused(str(error)) from None


@contextmanager
def _failures_for_people() -> Iterator[None]:
    """A job asks the server: what goes wrong there is told as Unfit."""
    try:
        yield
    except ModuleFailed as error:
        raise Unfit(str(error)) from None


@dataclass(frozen=True)
class ReadSessions(Job):
    """The sessions of all proxies that share a server."""

    url: str
    passwordfile: str

    def perform(self) -> list[dict[str, str]]:
        with _failures_for_people():
            return leases.read_sessions(self.url, self.passwordfile)


@dataclass(frozen=True, eq=False)
class TellOrdered(Job):
    """Has all proxies know of orders, or of their ends."""

    url: str
    passwordfile: str = field(repr=False)
    entries: tuple[OrderEntry, ...]
    us: str
    begins: tuple[OrderEntry, ...] = ()
    """Holds of a move: told only where no other move has one."""
    stale: tuple[StoredOrder, ...] = ()
    """Ended only if they are still as we have told them."""
    known: KnownChange = NOTHING_KNOWN
    """The last change that was known here."""
    forgets: tuple[OrderEntry, ...] = ()
    """What is kept no more with that."""

    def perform(self) -> tuple[OrderEntry, ...]:
        """Gives what is to be kept with the orders. If the store has lost what was known here, that must be seen by the
        next look: so the new change is not known then.
        """
        words = cluster_order_store.arguments_of(self.entries, self.us, stale=self.stale, begins=self.begins)
        with _failures_for_people():
            store = cluster_order_store.tell(self.url, self.passwordfile, words, by=self.us)
        known = [store.known.entry()] if store.follows(self.known) else []
        now = time.time()
        ends = [end_of(cluster_order_store.field_of(*one[:2]), now) for one in self.entries if one.value is None]
        return (*self.forgets, *known, *ends)


@dataclass(frozen=True)
class TellGone(Job):
    """Has the proxy that moves a user know that none of his sessions is left here."""

    url: str
    passwordfile: str
    move: str
    us: str

    def perform(self) -> None:
        with _failures_for_people():
            cluster_order_store.tell_gone(self.url, self.passwordfile, self.move, us=self.us)


@dataclass(frozen=True)
class AwaitGone(Job):
    """Waits until nobody is left of a user at the other proxies."""

    url: str
    passwordfile: str
    move: str
    us: str
    until: float
    ends: bool = False
    """Whether the others end who stays."""

    def perform(self) -> None:
        with _failures_for_people():
            silent = cluster_order_store.wait_until_gone(
                self.url, self.passwordfile, self.move, us=self.us, until=self.until
            )
        if silent:
            advice = "" if self.ends else "; `deadline TIME` ends who stays"
            raise Unfit(f"not said in time that nobody is left there: proxy {', '.join(silent)}{advice}")


@dataclass(frozen=True)
class TellKicked(Job):
    """Has the other proxies end sessions."""

    url: str
    passwordfile: str
    sort: str
    id: str
    deadline: int | None
    us: str

    def perform(self) -> None:
        words = {"sort": self.sort, "ident": self.id, "deadline": self.deadline}
        with _failures_for_people():
            leases.kick(self.url, self.passwordfile, self.us, **words)  # type: ignore[arg-type]


def tell_kicked(context: CommandContext, sort: str, ident: str, *, deadline: int | None) -> TellKicked:
    """The job that has the other proxies do as an order does here. Raises CommandRefused where there is no cluster."""
    variables = _cluster_of(context)
    where = variables[CLUSTER], variables[PASSWORDFILE]
    return TellKicked(*where, sort=sort, id=ident, deadline=deadline, us=variables[OUR_NAME])


def _cluster_of(context: CommandContext) -> Mapping[str, Any]:
    variables = context.config.variables
    if not variables[CLUSTER]:
        raise CommandRefused("no cluster is set; `set cluster URL` names the server that the proxies share")
    return variables


class SharedWords(TypedDict):
    """What an order says of the cluster; see Action, and Ordered."""

    entries: tuple[OrderEntry, ...]
    told: TellOrdered | None
    surely_told: bool


def shared(context: CommandContext, *entries: OrderEntry) -> SharedWords:
    """Orders that are to hold at all proxies, where there is a cluster. An order that holds here alone ends here alone;
    and the end of one that holds elsewhere too is nothing if it is not known there: it would come back.
    """
    operator = context.status.operator
    marked = tuple(
        one if one.value is None or not context.config.variables[CLUSTER] else with_mark(one) for one in entries
    )
    known = [one for one in marked if (one.value or operator.of(one.sort).get(one.id, {})).get(SHARED)]
    job = tell_ordered(context, known) if known else None
    ends = job is not None and any(one.value is None for one in known)
    return {"entries": marked, "told": job, "surely_told": ends}


def with_mark(entry: OrderEntry) -> OrderEntry:
    """The order with a mark that the others know it."""
    return entry._replace(value={**(entry.value or {}), SHARED: True})


def tell_ordered(context: CommandContext, entries: Iterable[OrderEntry]) -> TellOrdered | None:
    """The job; None where there is no cluster."""
    variables = context.config.variables
    if not variables[CLUSTER]:
        return None
    operator = context.status.operator
    return TellOrdered(
        variables[CLUSTER],
        variables[PASSWORDFILE],
        tuple(entries),
        us=variables[OUR_NAME],
        known=KnownChange.of(operator.of(SHARED)),
        forgets=tuple(operator.ended(SHARED, time.time())),
    )


def _sessions(context: CommandContext, _arguments: Arguments) -> Outcome:
    variables = _cluster_of(context)
    try:
        rows = context.lookups.find(ReadSessions(variables[CLUSTER], variables[PASSWORDFILE]))
    except Unfit as unfit:
        raise CommandRefused(str(unfit)) from None
    return Reply(count_of(len(rows), "session"), data=rows, lines=None if rows else ["no session"])


CLUSTER_VARIABLES = (
    Variable(
        CLUSTER,
        String(),
        "The server of Redis or Valkey by which several proxies count sessions of users, logindelay, failures and "
        "guesses together, and tell each other what is blocked: "
        "redis://[USER@]HOST[:PORT][/DB], rediss://..., unix:/PATH, redis+sentinel://HOST[:PORT],.../NAME[/DB] or "
        'redis+cluster://HOST[:PORT]; "" for none. While it does not answer each proxy '
        "counts for itself. What a proxy held that has died is free after 30 seconds.",
        default="",
        when="new sessions",
        check=_is_a_url,
        source=BESIDE,
    ),
    Variable(
        PASSWORDFILE,
        FileOrNone(),
        'The file whose first line is the password of the server that cluster names. "": it wants none.',
        default="",
        when="new sessions",
        source=BESIDE,
    ),
)


def cluster_commands() -> list[ControlCommand]:
    """The row."""
    return [
        ControlCommand(
            "sessions cluster",
            _sessions,
            "Lists who is logged in at which proxy of the cluster, by user and session.\nWho has come or gone is "
            "listed so a second later; a session of a proxy that has died is listed for 30 seconds more.",
            source=BESIDE,
        )
    ]
