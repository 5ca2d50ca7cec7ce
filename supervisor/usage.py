"""What a process finds out about itself: processor time, memory, descriptors. It shows them in its block of the table.

Only `/proc/self` is read, which a process may always do, also one that nobody can trace.
"""

import os
import resource
from pathlib import Path

from supervisor.table.contents import BASE_CELLS

_CPU = BASE_CELLS.index("cpu_us")
_RESIDENT = BASE_CELLS.index("resident_bytes")
_DESCRIPTORS = BASE_CELLS.index("open_fds")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_DESCRIPTORS_OF_ITSELF = "/proc/self/fd"


def show_usage(block: memoryview, children: bool = False) -> None:
    """Writes this process's numbers into its block; with `children`, the time of its buried children is added."""
    block[_CPU] = cpu_microseconds(children)
    block[_RESIDENT] = resident_bytes()
    block[_DESCRIPTORS] = open_descriptor_count()


def cpu_microseconds(children: bool = False) -> int:
    """Processor time, in user and system mode."""
    accounting = [resource.RUSAGE_SELF, *([resource.RUSAGE_CHILDREN] if children else [])]
    usages = [resource.getrusage(account) for account in accounting]
    return int(1e6 * sum(usage.ru_utime + usage.ru_stime for usage in usages))


def resident_bytes() -> int:
    """Memory in use, shared pages included; 0 where it cannot be found out."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def open_descriptor_count() -> int:
    """Open descriptors; 0 where it cannot be found out. From Linux 6.2 on the size of the directory tells it."""
    try:
        return os.stat(_DESCRIPTORS_OF_ITSELF).st_size or len(os.listdir(_DESCRIPTORS_OF_ITSELF))
    except OSError:
        return 0
