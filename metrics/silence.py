"""Who gives no sign of life: the master, or workers. Each shows in the table, once a second, that its loop turns. Pure.

What has not been heard of at all is not called silent: it is only being born, or of a release that showed nothing.
"""

from collections.abc import Mapping, Sequence

from metrics.trouble import Concern
from supervisor.runtime.plural import count_of, noun
from supervisor.table.segment import View

MASTER_SECONDS = 10.0
"""After so many without a sign the master counts as dead or stuck."""
WORKER_SECONDS = 5.0
"""And a worker as one that serves nobody. It is killed only after `workertimeout`, for then its sessions are lost."""


def silence_of_master(view: View, now_ns: int) -> str:
    """That the master, which the file's head names, is dead or stuck; "" if all is well."""
    beat = view.master()["heartbeat_ns"]
    silent = (now_ns - beat) / 1e9 if beat else 0.0
    return f"the master, process {view.header.pid}, {_for(silent)}" if silent > MASTER_SECONDS else ""


def silence_of_workers(workers: Sequence[Mapping[str, int]], now_ns: int) -> str:
    """That none of them serves anybody; "" if one does, or there is none."""
    silent = _silent(workers, now_ns)
    if not silent or len(silent) < len(workers):
        return ""
    many = len(silent) > 1
    who = f"all {count_of(len(silent), 'worker')}" if many else "the only worker"
    return f"{who} {_for(min(silent), len(silent))}"


def silent_workers(workers: Sequence[Mapping[str, int]], now_ns: int) -> list[Concern]:
    """That some of them serve nobody: who was given to one waits."""
    silent = _silent(workers, now_ns)
    if not silent:
        return []
    text = f"{len(silent)} of {count_of(len(workers), 'worker')} {_for(max(silent), len(silent))}"
    return [Concern(text, "Its clients wait." if len(silent) == 1 else "Their clients wait.")]


def _silent(workers: Sequence[Mapping[str, int]], now_ns: int) -> list[float]:
    beats = (worker["heartbeat_ns"] for worker in workers)
    return [seconds for beat in beats if beat and (seconds := (now_ns - beat) / 1e9) > WORKER_SECONDS]


def _for(seconds: float, count: int = 1) -> str:
    return f"{noun(count, 'has', 'have')} been silent for {seconds:.0f} s"
