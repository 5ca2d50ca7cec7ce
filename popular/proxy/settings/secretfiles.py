"""Secrets of the configuration: a file's name and what its first line was when it was read, a kind of the control
language. A secret is never a word of a command; the file is, and whoever looks at the configuration sees its name only.

`pdm check` looks at the files, as it does at those of modules, and reads one anew that has changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from popular import messages
from popular.pdm.arguments import secret_from
from popular.pdm.contract import ModuleFailed
from popular.proxy.settings.modulefiles import Stamp, stamp
from supervisor.config import Config
from supervisor.control.kinds import File, Kind
from supervisor.control.lookups import Job, Lookups, Unfit
from supervisor.control.outcome import LogEntry


@dataclass(frozen=True)
class KeptSecret:
    """The file, and its first line. Both "" for none."""

    path: str = ""
    octets: bytes = field(default=b"", repr=False)
    stamp: Stamp = field(default=(), repr=False, compare=False)
    """Of the file when it was read."""

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
    paths = {backend.mastersecret.path for backend in config.things["backend"].values()}
    return tuple(sorted(paths - {""}))


def read_anew(
    config: Config, found: Mapping[str, Stamp], lookups: Lookups
) -> Iterator[tuple[str, KeptSecret, LogEntry]]:
    """Of each backend whose file is another now: its id, what counts from now on, and what is told of it. A file that
    cannot be used leaves the secret as it was.
    """
    for ident, backend in config.things["backend"].items():
        kept: KeptSecret = backend.mastersecret
        seen = found.get(kept.path, kept.stamp)
        if seen == kept.stamp:
            continue
        fields: dict[str, object] = {"backend": ident, "file": kept.path}
        try:
            yield ident, SecretInFile().parse(kept.path, lookups), (messages.SECRET_TAKEN, fields)
        except Unfit as unfit:
            entry = messages.SECRET_FAULT, {**fields, "reason": str(unfit)}
            yield ident, replace(kept, stamp=seen), entry
