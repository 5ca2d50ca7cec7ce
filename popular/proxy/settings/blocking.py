"""The commands `block`, `unblock` and `report limits`."""

import ipaddress
import time
from dataclasses import dataclass
from functools import partial

from popular.net.networks import Network, NetworkList, plain
from popular.proxy.settings.cluster import shared
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import Choice, Kind, Time, shown
from supervisor.control.language.lookups import Lookups, Unfit
from supervisor.control.language.outcome import Block, Ordered, Outcome, Reply
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import OrderEntry
from supervisor.runtime.plural import count_of
from supervisor.table.blocked import BLOCKED

LONGEST_BLOCK = 366 * 86_400
"""Seconds; a longer one is for ever."""


@dataclass(frozen=True)
class OneNetwork(Kind):
    """A network, or an address."""

    def describe(self) -> str:
        return "Network"

    def parse(self, text: str, lookups: Lookups) -> Network:
        networks = NetworkList().parse(text, lookups).networks
        if len(networks) != 1:
            raise Unfit(f"{shown(text)} is not one network; allowed: 192.0.2.0/24, 2001:db8::/32, or an address")
        return networks[0]


def seconds_left(until: float | None, now: float) -> int | None:
    """For how long a network is still blocked: None for ever. -1: that is over, and nothing to be ordered."""
    if until is None:
        return None
    return max(1, round(min(until - now, LONGEST_BLOCK))) if until > now else -1


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _block(context: CommandContext, arguments: Arguments) -> Outcome:
    network, seconds = arguments["network"], arguments["time"]
    now = time.time()
    value = {"since": now, "until": None if seconds is None else now + seconds}
    entry = OrderEntry(BLOCKED, str(network), value)
    return Block(f"{network} is blocked", network=network, seconds=seconds, **shared(context, entry))


def _blocked(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = [
        {"network": str(network), "until": _iso(until) if until else None}
        for network, until in context.status.blocked().items()
    ]
    return Reply(count_of(len(rows), "network"), data=rows, lines=None if rows else ["no network is blocked"])


def _networks(context: CommandContext, _arguments: Arguments) -> list[str]:
    return [str(network) for network in context.status.blocked()]


def _unblock(context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["network"]
    try:
        network = plain(ipaddress.ip_network(word))
    except ValueError:
        network = None
    if network is None and str(word) in context.status.operator.of(BLOCKED):
        # Somebody has written it into the file: it blocks nobody, and yet is ordered.
        return Ordered(f"{shown(word)} is ordered no more", entries=(OrderEntry(BLOCKED, str(word)),))
    if network not in context.status.blocked():
        raise CommandRefused(f"{shown(word)} is not blocked; `block list` lists the networks that are", word.column)
    words = shared(context, OrderEntry(BLOCKED, str(network)))
    return Block(f"{network} is blocked no more", network=network, seconds=0, **words)


def _report(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = [
        {
            "when": _iso(note.when),
            "limit": note.about,
            "network": note.network,
            "namespace": note.namespace,
            "user": note.user,
            "vserv": note.where,
        }
        for note in context.status.noted()
    ]
    return Reply(count_of(len(rows), "note"), data=rows, lines=None if rows else ["nobody was concerned"])


_row = partial(ControlCommand, source=BESIDE)


def blocking_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        _row("block list", _blocked, "Lists the networks that are blocked, each with its end."),
        _row(
            "block <network> [<until> <time>]",
            _block,
            "Serves nobody from a network any more, or so long.\n`block 192.0.2.0/24 until 10m` ends by itself in ten "
            "minutes; said again, it changes the end. Clients from there are closed without a reply, in all workers as "
            "soon as the command is answered, and soon in the other proxies of a cluster; sessions that are there "
            "already go on. It is no part of the "
            "configuration: it stays in force over `apply` and a restart (see `state list`).",
            {"network": OneNetwork(), "until": Choice("until"), "time": Time(1, LONGEST_BLOCK)},
            changes=True,
            one_off=True,
        ),
        _row(
            "unblock <network>",
            _unblock,
            "Serves a blocked network again.",
            {"network": _networks},
            changes=True,
            one_off=True,
        ),
        _row(
            "report limits",
            _report,
            "Lists whom limits on trial (`report:VALUE`) would have concerned of late, the newest first.\nAt most the "
            "last 256, and of this proxy alone, also in a cluster: on trial each counts for itself. The metric "
            "popular_limit_reports_total counts them all.",
        ),
    ]
