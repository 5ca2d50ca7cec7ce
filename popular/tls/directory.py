"""What `tlsdir` holds: NAME.pem with the chain, and the private key in NAME.key or in NAME.pem as well.

Two jobs look at it: LookAt only asks the file system whether anything is different (links are followed, so that a
renewal by exchanging a link shows), ReadAll reads every file and tries it. `merged` says what is in use afterwards:
one faulty file never takes anything else with it, and no certificate that is not valid takes the place of one that is.
A third, Digests, tells of single files elsewhere whether they hold something else.
"""

import hashlib
import math
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from popular.tls.certificate import Certificate, read_certificate
from supervisor.control.language.kinds import Id
from supervisor.control.language.lookups import Job, Lookups, ReadFile, Unfit

DEFAULT = "default"
"""The certificate for clients that name no host, or one that no certificate is for."""
MOST_CERTIFICATES = 1000
MOST_OCTETS = 1 << 20
"""How long one file may be."""

_CHAIN, _KEY = ".pem", ".key"
_FORBIDDEN = stat.S_IWGRP | stat.S_IRWXO
_STAYS = "what was read before stays in use"
_GONE = f"the file is gone; {_STAYS}, because it is needed"


@dataclass(frozen=True)
class CertificateStore:
    """What was read, by the name of the file without its suffix. Mappings in here are never changed.

    What is invalid, and the next turn, `merged` says.
    """

    directory: str
    stamp: str
    """A mark of the files as they were; equal if none was changed since."""
    certificates: Mapping[str, Certificate]
    faults: Mapping[str, str]
    """Why a file is not in use."""
    read_at: float = field(compare=False)
    """Seconds since 1970."""
    invalid: Mapping[str, str] = field(default_factory=dict)
    """Why a certificate that is in use is not valid."""
    next_turn: float = math.inf
    """When the next certificate begins or ends, be it in use or not (seconds since 1970)."""

    @property
    def troubles(self) -> dict[str, str]:
        """What is wrong with files, and with certificates in use, in the order of their names."""
        both = {name: (self.faults.get(name), self.invalid.get(name)) for name in {**self.faults, **self.invalid}}
        return {name: "; ".join(filter(None, both[name])) for name in sorted(both)}

    def is_outdated(self, look: "Look") -> bool:
        """Whether reading anew would give something else: files were changed, or a certificate has begun or ended."""
        return look.stamp != self.stamp or look.now >= self.next_turn


@dataclass(frozen=True)
class Look:
    """What LookAt saw, and when."""

    stamp: str
    now: float


@dataclass(frozen=True)
class LookAt(Job):
    """Whether the files of a directory have changed."""

    directory: str

    def perform(self) -> Look:
        return Look(_stamp(self.directory), time.time())


@dataclass(frozen=True)
class ReadAll(Job):
    """All certificates of a directory."""

    directory: str

    def perform(self) -> CertificateStore:
        stamp = _stamp(self.directory)  # first: what changes while we read shows at the next look
        certificates: dict[str, Certificate] = {}
        faults: dict[str, str] = {}
        names = [file.removesuffix(_CHAIN) for file in _files(self.directory) if file.endswith(_CHAIN)]
        if len(names) > MOST_CERTIFICATES:
            raise Unfit(f'"{self.directory}" holds {len(names)} certificates; allowed: {MOST_CERTIFICATES}')
        for name in names:
            try:
                certificates[name] = _read(self.directory, name)
            except Unfit as unfit:
                faults[name] = str(unfit)
            except OSError as error:
                faults[name] = f"{os.path.basename(error.filename or '')}: {error.strerror}"
        return CertificateStore(self.directory, stamp, certificates, faults=faults, read_at=time.time())


@dataclass(frozen=True)
class Digests(Job):
    """What files hold: of each path the `digest` of its first octets, "" for one that cannot be read."""

    paths: tuple[str, ...]
    most_octets: int

    def perform(self) -> dict[str, str]:
        return {path: self._digest(path) for path in self.paths}

    def _digest(self, path: str) -> str:
        try:
            return digest(ReadFile(path, self.most_octets).perform())
        except OSError:
            return ""


def digest(content: bytes) -> str:
    """By which content is compared."""
    return hashlib.sha256(content).hexdigest()


def merged(before: CertificateStore | None, found: CertificateStore, needed: Collection[str]) -> CertificateStore:
    """What is in use after reading: what is good, and what was good before where it is faulty now, or gone and needed.

    A certificate that is not valid takes the place of none that is. `before` is of the same directory.
    """
    now = found.read_at
    certificates, faults = dict(found.certificates), dict(found.faults)
    for name, old in (before.certificates if before is not None else {}).items():
        new = certificates.get(name)
        if new is None and name not in faults and name in needed:
            faults[name] = _GONE
        elif new is not None and old.is_valid(now) and not new.is_valid(now):
            faults[name] = f"{new.invalidity(now)}; {_STAYS}"
        if name in faults:
            certificates[name] = old
    return replace(
        found,
        certificates=certificates,
        faults=faults,
        invalid={name: one.invalidity(now) for name, one in certificates.items() if not one.is_valid(now)},
        next_turn=_next_turn((*found.certificates.values(), *certificates.values()), now),
    )


def _next_turn(certificates: Iterable[Certificate], now: float) -> float:
    turns = (turn for one in certificates for turn in (one.not_before, one.not_after))
    return min((turn for turn in turns if turn > now), default=math.inf)


def _files(directory: str) -> Iterator[str]:
    """Names of files, in order; not those in hiding, among which are unfinished ones."""
    for file in sorted(os.listdir(directory)):
        if file.endswith((_CHAIN, _KEY)) and not file.startswith("."):
            yield file


def _stamp(directory: str) -> str:
    digest = hashlib.sha256()
    for file in _files(directory):
        try:
            seen = os.stat(os.path.join(directory, file))
        except OSError as error:
            digest.update(f"{file} {error.errno}\n".encode())
            continue
        # The change time tells of every change of content, owner or mode, whatever the modification time was set to.
        what = (seen.st_dev, seen.st_ino, seen.st_ctime_ns, seen.st_mtime_ns, seen.st_size)
        digest.update(f"{file} {what}\n".encode())
    return digest.hexdigest()


def _read(directory: str, name: str) -> Certificate:
    Id().parse(name, Lookups())
    pem, about_pem = _content(directory, name + _CHAIN)
    if b"PRIVATE KEY-----" in pem:
        _check_private(name + _CHAIN, about_pem)
    try:
        key, about_key = _content(directory, name + _KEY)
    except FileNotFoundError:
        return read_certificate(name, pem, None)
    _check_private(name + _KEY, about_key)
    return read_certificate(name, pem, key)


def _content(directory: str, file: str) -> tuple[bytes, os.stat_result]:
    """What is in a file, and whose it is; both of the file that was opened, whatever stands there by now."""
    # Nobody waits for the other end of what may be a pipe.
    opened = os.open(os.path.join(directory, file), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            raise Unfit(f"{file} is not a file")
        with open(opened, "rb", closefd=False) as stream:
            content = stream.read(MOST_OCTETS + 1)
    finally:
        os.close(opened)
    if len(content) > MOST_OCTETS:
        raise Unfit(f"{file} is too large; allowed: {MOST_OCTETS} octets")
    return content, about


def _check_private(file: str, about: os.stat_result) -> None:
    """A private key is for root and ourselves, and for readers of the group that its owner has chosen."""
    if about.st_uid not in (0, os.geteuid()):
        raise Unfit(f"{file} belongs to user {about.st_uid}; allowed: root, or {os.geteuid()}, who runs this")
    mode = stat.S_IMODE(about.st_mode)
    if mode & _FORBIDDEN:
        raise Unfit(f"{file} has mode {mode:04o}, others could get at the private key; allowed: 0600, or 0640")
