"""Reads the access file: at the start, and anew when the log is opened anew."""

import grp
import os
import pwd
from pathlib import Path

from supervisor.control.files.rcdisk import read_regular
from supervisor.control.files.rcfile import UnreadableFile
from supervisor.control.language.language import Language
from supervisor.control.wire.access import GROUP, USER, Access, FaultyAccess, access_of
from supervisor.runtime.directory import FileOwner, why_not_trusted
from supervisor.runtime.lineend import LACKING, is_ended


class AccessFile:
    """Where it is; without one, whoever can connect may read."""

    def __init__(self, path: str | None, language: Language) -> None:
        self.path = None if path is None else os.path.abspath(path)
        self._language = language
        self._was_ended = False

    def read(self) -> Access:
        """Who may say what from now on. Raises FaultyAccess, with what is wrong and where."""
        if self.path is None:
            return Access(os.geteuid())
        try:
            doubt = why_not_trusted(Path(self.path), FileOwner.present())
            if doubt:
                raise FaultyAccess(f"access file {self.path}: {doubt}")
            content = read_regular(self.path)
            numbers = {USER: _uid, GROUP: _gid}
            access = access_of(content.octets, self.path, os.geteuid(), language=self._language, numbers=numbers)
        except OSError as error:
            raise FaultyAccess(f"access file {self.path}: {error.strerror}") from None
        except UnreadableFile as error:
            raise FaultyAccess(f"access file {error}") from None
        ended = is_ended(content.octets)
        if self._was_ended and not ended:  # what is cut may be another right
            raise FaultyAccess(f"access file {self.path} {LACKING}")
        self._was_ended = ended
        return access


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"there is no user '{name}' on this host") from None


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no group '{name}' on this host") from None
