"""The descriptors of this process: a forked child must know which to let go of."""

import os


def open_descriptors() -> set[int]:
    """All that are open now (one of them, that of this very listing, no longer is)."""
    return {int(name) for name in os.listdir("/proc/self/fd")}
