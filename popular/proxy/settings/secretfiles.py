"""Secrets of the configuration: a file's name and what its first line was when it was read, a kind of the control
language. A secret is never a word of a command; the file is, and whoever looks at the configuration sees its name only.

`pdm check` looks at the files, as it does at those of modules, and reads one anew that has changed.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from popular import messages
from popular.pdm.arguments import secret_from
from popular.pdm.contract import ModuleFailed
from popular.proxy.settings.modulefiles import Stamp, stamp
from supervisor.config import Config
from supervisor.control.language.kinds import File, Kind
from supervisor.control.language.lookups import Job, Lookups, Unfit
from supervisor.control.language.outcome import LogEntry

PARAMETERS = ("mastersecret", "healthsecret")
"""The parameters of a backend that name such a file."""


@dataclass(frozen=True)
class KeptSecret:
    """The file, and its first line. Both "" for none."""

    path: str = ""
    octets: bytes = field(default=b"", repr=False)
    stamp: Stamp = field(default=(), repr=False, compare=False)
    """The file's stamp when it was read."""

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class ReadSecret(Job):
    """The first line of a file that not everybody may write."""

    path: str

    def perform(self) -> KeptSecret:
        try:
            secret, files = secret_from(self.path)
        except ModuleFailed as error:
            raise Unfit(str(error)) from None
        return KeptSecret(self.path, secret.reveal(), next(stamp(status) for status in files.values()))


@dataclass(frozen=True)
class SecretInFile(Kind):
    """A file with a secret in its first line, read now; "" for none."""

    def describe(self) -> str:
        return "File"

    def parse(self, text: str, lookups: Lookups) -> KeptSecret:
        if not text:
            return KeptSecret()
        kept = lookups.find(ReadSecret(File().parse(text, lookups)))
        assert isinstance(kept, KeptSecret)
        return kept


def watched(config: Config) -> tuple[str, ...]:
    """The files of all backends' secrets."""
    backends = config.things["backend"].values()
    paths = {getattr(backend, parameter).path for backend in backends for parameter in PARAMETERS}
    return tuple(sorted(paths - {""}))


class Renewed(NamedTuple):
    """A backend's secret as it counts from now on, and what is told of it."""

    backend: str
    parameter: str
    kept: KeptSecret
    entry: LogEntry


def read_anew(config: Config, found: Mapping[str, Stamp], lookups: Lookups) -> Iterator[Renewed]:
    """Each of which the file is another now. A file that cannot be used leaves the secret as it was."""
    all_of_them = itertools.product(config.things["backend"].items(), PARAMETERS)
    for (ident, backend), parameter in all_of_them:
        kept: KeptSecret = getattr(backend, parameter)
        seen = found.get(kept.path, kept.stamp)
        if seen == kept.stamp:
            continue
        fields: dict[str, object] = {"backend": ident, "file": kept.path}
        try:
            entry = messages.SECRET_TAKEN, fields
            yield Renewed(ident, parameter, kept=SecretInFile().parse(kept.path, lookups), entry=entry)
        except Unfit as unfit:
            entry = messages.SECRET_FAULT, {**fields, "reason": str(unfit)}
            yield Renewed(ident, parameter, kept=replace(kept, stamp=seen), entry=entry)
