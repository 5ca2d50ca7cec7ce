"""Gives up root. The master keeps the one right to bind ports below 1024, the workers keep nothing.

And keeps memory to itself: a process that holds passwords or keys leaves no core file, and nobody but root can trace it
or look into its memory (so its own user cannot either, and finds less about it in /proc).

`capset` and `prctl` have no wrapper in the standard library, so they are called in libc by their documented numbers
(capabilities(7), prctl(2)).
"""

import ctypes
import grp
import os
import pwd
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_NO_NEW_PRIVS = 38
_CAP_NET_BIND_SERVICE = 10
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class UnknownUser(ValueError):
    """No such user on this host."""


def find_user(name: str) -> pwd.struct_passwd:
    """The account of that name. Raises UnknownUser."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UnknownUser(f"there is no user '{name}' on this host") from None


class UnknownGroup(ValueError):
    """No such group on this host."""


def find_group(name: str) -> int:
    """The number of the group of that name. Raises UnknownGroup."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownGroup(f"there is no group '{name}' on this host") from None


def become(user: pwd.struct_passwd) -> None:
    """The master, once: drops to the user for good, and keeps CAP_NET_BIND_SERVICE. Raises OSError."""
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    with _as_dumpable_as_before():
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _call("prctl", _PR_SET_KEEPCAPS, 0, 0, 0, 0)
    _set_capabilities(1 << _CAP_NET_BIND_SERVICE)


def die_with_parent() -> None:
    """This process is killed when its parent is gone."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def forbid_cores() -> None:
    """This process and its children leave no core file, and only root can trace them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextmanager
def _as_dumpable_as_before() -> Iterator[None]:
    """A change of user sets that to what fs.suid_dumpable says."""
    before = _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        _call("prctl", _PR_SET_DUMPABLE, int(before == 1), 0, 0, 0)


@contextmanager
def acting_as(user: pwd.struct_passwd | None) -> Iterator[None]:
    """Root, for a moment, with no more than the user's rights on files. For None, or without root, as it is."""
    if user is None or os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    with _as_dumpable_as_before():
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def renounce() -> None:
    """A worker, at birth: no capability is left (unless it runs as root on purpose), and none can be gained."""
    if os.getuid() != 0:
        _set_capabilities(0)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _set_capabilities(low: int) -> None:
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = struct.pack("6I", low, low, 0, 0, 0, 0)
    _call("capset", header, effective_permitted_inheritable)


def _call(name: str, *arguments: int | bytes) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
