"""The program as the exporter sees it at a moment: the table, the facts of the config, and the master's last pulse.

All that is shown is made from it, and it answers the two questions that probes ask: does the master live, and should
clients be sent here?
"""

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metrics.processes import ProcessorTime
from metrics.servers import servers_told
from metrics.silence import MASTER_SECONDS, silence_of_workers
from metrics.watch import Watch
from supervisor.exporterline import Pulse
from supervisor.metric import Metric
from supervisor.runtime.load import Level
from supervisor.table.segment import View
from supervisor.watched import Watched


@dataclass
class ProgramSeen:
    """One for the exporter's life; `facts` and `pulse` are replaced whole."""

    name: str
    version: str
    master: int
    table: Path
    view: View
    watched: Watched
    facts: dict[str, Any] = field(default_factory=dict)
    """What `Program.describe` told of the running config; empty until it comes."""
    pulse: Pulse | None = None
    pulse_at: float = 0.0
    """Seconds of the monotonic clock."""
    processor: ProcessorTime = field(default_factory=ProcessorTime)
    token: bytes = b""
    """The digest of the token that lets see names in full; empty if there is none."""
    metrics: tuple[Metric, ...] = ()
    """The rows of what the program counts."""
    host: str = field(default_factory=socket.gethostname)
    """Where it runs."""

    watch: Watch = field(init=False)
    """Sessions and history, for the status page."""

    def __post_init__(self) -> None:
        self.watch = Watch(self.view, self.watched.graphs)

    def hear(self, pulse: Pulse) -> None:
        """The master gave a sign of life."""
        self.pulse = pulse
        self.pulse_at = time.monotonic()

    def why_not_alive(self) -> str:
        """Nothing if all is well."""
        if self.pulse is None:
            return "nothing was heard of the master yet"
        silent = time.monotonic() - self.pulse_at
        return f"the master has been silent for {silent:.0f} s" if silent > MASTER_SECONDS else ""

    def why_not_ready(self) -> str:
        """Why no client should be sent here; nothing if some should."""
        reason = self.why_not_alive()
        if reason or self.pulse is None:
            return reason
        if self.pulse.draining:
            return "draining"
        if self.view.gauges()["load_state"] == Level.MAX:
            return "the load is too high: nobody is accepted"
        servers = servers_told(self.view, self.facts, self.watched.servers)
        if servers is None or servers.are_closed:
            return f"no {self.watched.servers.one} is online"
        if not self.pulse.serving:
            return "no worker serves"
        return silence_of_workers(self.view.workers(), time.monotonic_ns())
