"""Lookups from outside that a handler may need: the address of a host, whether a directory exists, what a file holds.

A handler is pure and runs in the master, which never blocks; so it asks `Lookups`, and where the fact is not known yet
`NeedsLookup` is raised with the job that finds it out. The master has the job run in a short-lived child process
(`run`), stores the result and calls the handler again from the start. One `Lookups` serves one command, so nothing in
it is stale.

A fact that could not be found out raises `Unfit` with a text for people.
"""

import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_LONGEST_HOST_NAME = 253
_NUMBER_LIKE = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
"""What inet_aton(3) reads as an address, octal and hexadecimal too: 127.0.0.010 is 127.0.0.8 to it."""


class Unfit(Exception):
    """A value does not fit where it stands; the text says why and what is allowed."""


def check_host_name(host: str) -> None:
    """Raises Unfit for what cannot be one, such as numbers that the system reads as an address nobody meant."""
    if _NUMBER_LIKE.fullmatch(host):
        raise Unfit("numbers that are no address; allowed: four numbers from 0 to 255, without leading zeros")
    if len(host) > _LONGEST_HOST_NAME or not _HOST_NAME.fullmatch(host):
        raise Unfit("not a host; allowed: an IPv4 or IPv6 address, or a host name")


class Job:
    """Something to find out. Subclasses are frozen, hashable and picklable."""

    def perform(self) -> object:
        """Finds it out; may block. Raises OSError or Unfit."""
        raise NotImplementedError


@dataclass(frozen=True)
class ResolveHost(Job):
    """The first address of a host name, as numeric text."""

    host: str

    def perform(self) -> str:
        try:
            found = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            raise Unfit(f"the host has no address ({reason})") from None
        return str(found[0][4][0])


@dataclass(frozen=True)
class FindDirectory(Job):
    """The path of a directory that exists."""

    path: str

    def perform(self) -> str:
        if not stat.S_ISDIR(os.stat(self.path).st_mode):
            raise Unfit(f'"{self.path}" is not a directory')
        return self.path


@dataclass(frozen=True)
class FindWritable(Job):
    """That a file can be appended to, or, where there is none, that it can be made. Nothing is made or written.

    Standard error is no log where it leads to the null device, as in the background.
    """

    path: str

    def perform(self) -> str:
        if self.path == "-":
            if os.path.samestat(os.fstat(2), os.stat(os.devnull)):
                raise Unfit("standard error leads nowhere here, as with --daemon; allowed: the name of a file")
            return self.path
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
        except FileNotFoundError:
            directory = os.path.dirname(self.path)
            if not os.path.isdir(directory):
                raise Unfit(f'"{directory}" is not a directory') from None
            if not os.access(directory, os.W_OK | os.X_OK):
                raise Unfit(f'"{directory}": no file can be made there ({os.strerror(errno.EACCES)})') from None
        return self.path


@dataclass(frozen=True)
class ReadFile(Job):
    """The first `most_bytes` octets of a file or a device; fewer if it ends before that."""

    path: str
    most_bytes: int

    def perform(self) -> bytes:
        content = bytearray()
        with open(self.path, "rb", buffering=0) as file:
            while len(content) < self.most_bytes:
                piece = file.read(self.most_bytes - len(content))
                if not piece:
                    break
                content += piece
        return bytes(content)


@dataclass(frozen=True)
class FindLocalAddress(Job):
    """Whether a numeric address belongs to this host."""

    address: str

    def perform(self) -> bool:
        family, kind, _, _, where = socket.getaddrinfo(self.address, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            try:
                probe.bind(where)
            except OSError as error:
                # The second: a link-local address without its interface.
                if error.errno in (errno.EADDRNOTAVAIL, errno.EINVAL):
                    return False
                raise
        return True


@dataclass(frozen=True)
class AskWorker(Job):
    """What a worker answers to a question that its program understands. The master puts it; no child does."""

    question: Hashable = field(repr=False)

    def perform(self) -> object:
        raise Unfit("there is no worker that could be asked: the program is not running")


@dataclass(frozen=True)
class Result:
    """What came of a job: a value, or the text of its failure.

    The value stays out of the repr: it may be a random seed.
    """

    value: object = field(default=None, repr=False)
    failure: str | None = None


class NeedsLookup(Exception):
    """A fact that is not known yet; `job` finds it out."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job


def run(job: Job) -> Result:
    """Performs a job in whatever process this is; blocks, never raises."""
    try:
        return Result(job.perform())
    except Unfit as unfit:
        return Result(failure=str(unfit))
    except OSError as error:
        subject = f'"{error.filename}": ' if error.filename else ""
        return Result(failure=f"{subject}{error.strerror or error}")
    except Exception as error:
        return Result(failure=f"{type(error).__name__}: {error}")


class Lookups:
    """What is known so far for one command.

    Every question raises NeedsLookup while its fact is not known yet, and Unfit when it cannot be known.
    """

    def __init__(self, known: Mapping[Job, Result] | None = None) -> None:
        self._known = dict(known or {})

    def store(self, job: Job, result: Result) -> None:
        """Remembers what came of a job."""
        self._known[job] = result

    def address(self, host: str) -> str:
        """The first address of a host, as numeric text. A literal address needs no job."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        check_host_name(host)
        return str(self.find(ResolveHost(host)))

    def directory(self, path: str) -> str:
        """The path itself, if it is a directory that exists."""
        return str(self.find(FindDirectory(path)))

    def writable(self, path: str) -> str:
        """The path itself, if it is a file that can be written to, or made; - is standard error."""
        return str(self.find(FindWritable(path)))

    def read(self, path: str, most_bytes: int) -> bytes:
        """Up to `most_bytes` octets from the beginning of a file or device."""
        content = self.find(ReadFile(path, most_bytes))
        assert isinstance(content, bytes)
        return content

    def local_address(self, address: str) -> bool:
        """Whether a numeric address belongs to this host."""
        if ipaddress.ip_address(address).is_loopback:
            return True
        return bool(self.find(FindLocalAddress(address)))

    def find(self, job: Job) -> Any:
        """What a job brings; for jobs that are a program's own."""
        result = self._known.get(job)
        if result is None:
            raise NeedsLookup(job)
        if result.failure is not None:
            raise Unfit(result.failure)
        return result.value
