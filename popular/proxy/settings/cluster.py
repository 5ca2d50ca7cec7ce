"""The variables and the command about several proxies that count together: `cluster`, `clusterpasswordfile`, `sessions
cluster`.

They share a server of Redis or Valkey; what lies there, and how it is asked, stands in popular/proxy/leases.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from popular.net.networks import Network
from popular.pdm.contract import ModuleFailed
from popular.proxy import leases
from supervisor.control.context import Arguments, CommandContext, ControlCommand, Variable
from supervisor.control.kinds import File, String
from supervisor.control.lookups import Job, Lookups, Unfit
from supervisor.control.outcome import Outcome, Reply
from supervisor.control.variables import BESIDE
from supervisor.control.words import CommandRefused
from supervisor.runtime.plural import count_of

CLUSTER, PASSWORDFILE = "cluster", "clusterpasswordfile"


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


@dataclass(frozen=True)
class ReadSessions(Job):
    """The sessions of all proxies that share a server."""

    url: str
    passwordfile: str

    def perform(self) -> list[dict[str, str]]:
        try:
            return leases.read_sessions(self.url, self.passwordfile)
        except ModuleFailed as error:
            raise Unfit(str(error)) from None


@dataclass(frozen=True)
class TellBlocked(Job):
    """Has all proxies block a network, or serve it again. Finds out why they could not be told; "" if they are."""

    url: str
    passwordfile: str
    network: str
    seconds: int | None

    def perform(self) -> str:
        try:
            leases.block(self.url, self.passwordfile, self.network, seconds=self.seconds)
        except ModuleFailed as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class TellKicked(Job):
    """Has the other proxies end sessions."""

    url: str
    passwordfile: str
    sort: str
    id: str
    deadline: int | None

    def perform(self) -> None:
        words = {"sort": self.sort, "ident": self.id, "deadline": self.deadline}
        try:
            leases.kick(self.url, self.passwordfile, leases.this_proxy(), **words)  # type: ignore[arg-type]
        except ModuleFailed as error:
            raise Unfit(str(error)) from None


def tell_kicked(context: CommandContext, sort: str, ident: str, *, deadline: int | None) -> None:
    """Has the other proxies do as an order does here. Raises CommandRefused where they cannot be told."""
    variables = _cluster_of(context)
    try:
        job = TellKicked(variables[CLUSTER], variables[PASSWORDFILE], sort=sort, id=ident, deadline=deadline)
        context.lookups.find(job)
    except Unfit as unfit:
        raise CommandRefused(f"{unfit}; nobody is kicked") from None


def _cluster_of(context: CommandContext) -> Mapping[str, Any]:
    variables = context.config.variables
    if not variables[CLUSTER]:
        raise CommandRefused("no cluster is set; `set cluster URL` names the server that the proxies share")
    return variables


def tell_blocked(context: CommandContext, network: Network, seconds: int | None) -> str | None:
    """Has the other proxies do as an order does here. What is to be said of that to the operator."""
    variables = context.config.variables
    if not variables[CLUSTER]:
        return None
    job = TellBlocked(variables[CLUSTER], variables[PASSWORDFILE], network=str(network), seconds=seconds)
    fault = context.lookups.find(job)
    return f"only here: the other proxies could not be told ({fault})" if fault else None


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
            "Lists the sessions of all proxies of the cluster that limits of users count.\nA session of a proxy that "
            "has died is listed for 30 seconds more.",
            source=BESIDE,
        )
    ]
