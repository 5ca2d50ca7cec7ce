"""The log: one line an entry, in the manual's text format or as JSON, written straight to the file.

Text (the manual's chapter on log files): date, time, host without domain, program, pid, session id or `-`, level,
four-digit hex number, name, then `key=number` and `key='value'`. Whatever came from outside is escaped, and cut at
512 characters: a line stays a line.

Every process has its own Log on the same file; each entry is one `write` in append mode, so lines never mix.
"""

import errno
import json
import os
import pwd
import socket
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from supervisor import rights
from supervisor.directory import Directory, Owner, Untrusted
from supervisor.messages import DEBUG, Message

_LONGEST_VALUE = 512
_NUMBERS = (int, float)

STANDARD_ERROR = "-"
_STANDARD = {STANDARD_ERROR: 2, "/dev/stderr": 2, "/dev/stdout": 1}
_MOST_LINKS = 8


class _Entries(structlog.BoundLoggerBase):
    """structlog's chain without a context: nothing is ever bound, and copying it was two fifths of an entry."""

    def write(self, entry: Any) -> None:
        for processor in self._processors:
            entry = processor(self._logger, "info", entry)
        self._logger.info(entry)


class Log:
    """Writes entries. `log(MESSAGE, sid="…", key=value, …)`."""

    def __init__(
        self,
        program: str,
        path: str = STANDARD_ERROR,
        form: str = "text",
        user: pwd.struct_passwd | None = None,
    ) -> None:
        """`path`: a file, or "-" for standard error; `form`: "text" or "json"; `user`: whom root is going to become.

        Raises OSError if it cannot be opened.
        """
        self.program = program
        self.path = path
        self.form = form
        self.options: frozenset[str] = frozenset()
        self._host = socket.gethostname().partition(".")[0] or "-"
        self._second = -1
        self._stamp = ""
        self._shapes: dict[tuple[object, ...], tuple[str, int]] = {}
        self._fd, self.doubt = _open_for(path, user)
        """Also why others can write the directory that it is in; empty if they cannot."""
        self.after_fork()
        render: Any = self._text if form == "text" else self._json
        self._entries = structlog.wrap_logger(self, processors=[render], wrapper_class=_Entries).bind()

    def __call__(self, message: Message, sid: str = "-", **fields: object) -> None:
        """Writes one entry."""
        self._entries.write({"event": message.name, "message": message, "sid": sid, "fields": fields})

    def debug(self, option: str, name: str, sid: str = "-", **fields: object) -> None:
        """Writes a debug entry if its option is on (the `debug` sentence). Its name carries the option."""
        if option in self.options:
            name = f"{option.lower()}_{name}"
            self._entries.write({"event": name, "message": DEBUG, "sid": sid, "fields": fields})

    def info(self, line: bytes) -> None:
        """The end of structlog's chain: writes a finished line. A full disk must not stop the service."""
        try:
            os.write(self._fd, line)
        except OSError:
            pass

    def reopen(self, path: str | None = None) -> None:
        """Opens the file anew, or another one from now on. Raises OSError; the old one then stays in use."""
        fd, _doubt = _open(path or self.path, Owner.present())
        old, self._fd = self._fd, fd
        self.path = path or self.path
        if old not in _STANDARD.values():
            os.close(old)

    def after_fork(self) -> None:
        """In a child: the same file, another pid."""
        self._pid = os.getpid()
        self._who = f" {self._host} {self.program} {self._pid} "

    def fileno(self) -> int:
        return self._fd

    def _text(self, _logger: object, _method: str, entry: dict[str, Any]) -> bytes:
        message: Message = entry["message"]
        fields = entry["fields"]
        head = f"{self._time()}{self._who}{entry['sid']} {message.level} {message.number:04x} {entry['event']}"
        # All fields at once, then one look at the outcome, because hardly any entry has something to escape: a third of
        # the steps that it takes field by field.
        template, quotes = self._shape(fields)
        values = tuple(fields.values())
        said = template % values
        if len(said) > _LONGEST_VALUE or said.count("'") != quotes or "\\" in said or not said.isprintable():
            said = template % tuple([value if type(value) in _NUMBERS else _escape(value) for value in values])
        return f"{head}{said}\n".encode()

    def _shape(self, fields: dict[str, Any]) -> tuple[str, int]:
        """The template for fields of these names and types, and how many quotes are in it.

        There are as many as there are kinds of entries in the program: a few dozen.
        """
        names_and_types = (*fields, *map(type, fields.values()))
        shape = self._shapes.get(names_and_types)
        if shape is None:
            template = "".join(
                f" {key}=%s" if type(value) in _NUMBERS else f" {key}='%s'" for key, value in fields.items()
            )
            shape = self._shapes[names_and_types] = template, template.count("'")
        return shape

    def _json(self, _logger: object, _method: str, entry: dict[str, Any]) -> bytes:
        message = entry["message"]
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "host": self._host,
            "program": self.program,
            "pid": self._pid,
            "sid": entry["sid"],
            "level": message.level,
            "number": f"{message.number:04x}",
            "name": entry["event"],
        }
        for key, value in entry["fields"].items():
            record[key] = value if type(value) in _NUMBERS else str(value)[:_LONGEST_VALUE]
        return (json.dumps(record) + "\n").encode()

    def _time(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y%m%d %H%M%S", time.localtime(second))
        return self._stamp


def _open_for(path: str, user: pwd.struct_passwd | None) -> tuple[int, str]:
    """Opens a log with the rights of the user that it is for; see `_open`.

    Where this user may make no file, only root's own directories are left, in which nobody else can put one: there root
    opens it and gives it to the user.
    """
    try:
        with rights.acting_as(user):
            return _open(path, Owner.of(user))
    except Untrusted:
        raise
    except PermissionError:
        if user is None or os.geteuid() != 0:
            raise
    return _open(path, Owner(0, 0), give_to=user)


def _open(path: str, owner: Owner, give_to: pwd.struct_passwd | None = None) -> tuple[int, str]:
    """The descriptor of a log, and why others can write its directory. Raises OSError."""
    strict = os.getuid() == 0
    for _ in range(_MOST_LINKS):
        if path in _STANDARD:
            return _STANDARD[path], ""
        try:
            directory = Directory.open(Path(path).absolute().parent, owner, strict=strict)
        except OSError as error:
            error.filename = path
            raise
        try:
            if give_to is not None and not directory.is_exclusive:
                raise PermissionError(errno.EACCES, f"{give_to.pw_name} may not write it")
            name = os.path.basename(path)
            target = _link_of_ours(directory, name)
            if target is None:
                fd = directory.open_file(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, devices=True)
                if give_to is not None and stat.S_ISREG(os.fstat(fd).st_mode):
                    os.fchown(fd, give_to.pw_uid, give_to.pw_gid)
                return fd, directory.doubt
            path = os.path.join(directory.path, target)
        finally:
            directory.close()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _link_of_ours(directory: Directory, name: str) -> str | None:
    """Where a symbolic link leads that nobody else can have made: logs are put elsewhere in this way."""
    found = directory.status(name)
    if found is None or not stat.S_ISLNK(found.st_mode) or not directory.is_exclusive:
        return None
    return directory.target(name) if found.st_uid in (0, os.geteuid()) else None


def _escape(value: object) -> str:
    """Control, bidirectional and other unprintable characters, quotes and backslashes become escapes."""
    return "".join(_escape_one(character) for character in str(value)[:_LONGEST_VALUE])


def _escape_one(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
