"""For how many sessions a worker has descriptors: whoever is accepted has all that his session may need.

Where descriptors are scarce clients wait in the backlog, and no login fails for want of one.
"""

import os
import resource

from supervisor.runtime.descriptors import resting_descriptors

NO_LIMIT = 1 << 62
PAUSE_SECONDS = 1.0
"""How long nobody is accepted when the kernel gave no descriptor or no memory."""
ROOM_SECONDS = 0.1
"""How long a worker waits before it looks again whether a session has ended that had descriptors."""
_SESSION_DESCRIPTORS = 2
"""The client's, and one for what is opened for it later: a backend, a mail check, a file."""
_OTHER_DESCRIPTORS = 8
"""For what comes and goes beside the sessions: log files, files of modules and certificates, a new configuration."""


def descriptors_left(listening: int) -> int:
    """Those for listening sockets and sessions, while so many sockets listen and nobody has been accepted yet."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return NO_LIMIT
    ours = len(os.listdir("/proc/self/fd")) - listening
    return limit - ours - _OTHER_DESCRIPTORS - resting_descriptors()


def sessions_with(descriptors: int) -> int:
    """For so many sessions they reach; for one in any case."""
    return max(1, descriptors // _SESSION_DESCRIPTORS)
