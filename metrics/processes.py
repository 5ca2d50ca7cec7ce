"""The processor time of a program: what its processes show of themselves in the session table, and the exporter's own.

No other process's /proc is read: under `ProtectProc=invisible` a process that cannot be traced is not in it.
"""

import time

from supervisor.table.segment import View


class ProcessorTime:
    """Processor seconds of a master and all its children, the dead ones included. Never falls."""

    def __init__(self) -> None:
        self._highest = 0.0

    def seconds(self, view: View) -> float:
        """The master's account holds the children that are buried; the living are added.

        Between the death of a worker and the master's next beat its time is in neither: the highest reading so far
        holds until then.
        """
        shown = view.master()["cpu_us"] + sum(worker["cpu_us"] for worker in view.workers())
        self._highest = max(self._highest, shown / 1e6 + time.process_time())
        return self._highest
