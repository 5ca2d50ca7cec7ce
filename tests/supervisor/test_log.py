"""The log: one entry is one line, in both forms, whatever comes from outside."""

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.runtime.log import Log
from supervisor.runtime.logline import Often
from supervisor.runtime.messages import START, SUPERVISOR_MESSAGES, WORKER_BORN
from tests.system.site import log_entries

ANYTHING = st.text(st.characters(), max_size=600)
FIELDS = st.dictionaries(
    st.from_regex(r"\A[a-z]{2,8}_\Z"), st.one_of(ANYTHING, st.integers(), st.floats(allow_nan=False)), max_size=5
)


def _written(directory: Path, form: str, fields: dict[str, object]) -> str:
    path = directory / "log"
    path.unlink(missing_ok=True)
    log = Log("probe", str(path), form=form)
    log(WORKER_BORN, "p.1.2", **fields)
    os.close(log.fileno())
    return path.read_text()


def _unescaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("unicode_escape")


@settings(deadline=None)
@given(fields=FIELDS)
def test_text_stays_one_line_and_tells_all(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    """Every field is there, printable, and can be read back; text is cut at 512 characters."""
    directory = tmp_path_factory.getbasetemp()
    text = _written(directory, "text", fields)

    assert text.endswith("\n")
    assert text[:-1].isprintable()
    (entry,) = log_entries(directory / "log")
    assert (entry.sid, entry.level, entry.number, entry.name) == ("p.1.2", "INF", "0200", "worker_born")
    assert entry.pid == os.getpid()
    assert entry.fields.keys() == fields.keys()
    for name, value in fields.items():
        if isinstance(value, str):
            assert _unescaped(entry.fields[name]) == _unescaped(value[:512].replace("\\", "\\\\"))
        else:
            assert str(value) == entry.fields[name]


@settings(deadline=None)
@given(fields=FIELDS)
def test_json_stays_one_line_and_tells_all(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    """JSON needs no escaping of our own."""
    text = _written(tmp_path_factory.getbasetemp(), "json", fields)

    assert text.count("\n") == 1
    assert text[:-1].isascii()
    record = json.loads(text)
    assert (record["sid"], record["level"], record["number"], record["name"]) == (
        "p.1.2",
        "INF",
        "0200",
        "worker_born",
    )
    for name, value in fields.items():
        assert record[name] == (value[:512] if isinstance(value, str) else value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("it's", r"it\'s"),
        ("back\\slash", r"back\\slash"),
        ("two\nlines\r\0", r"two\x0alines\x0d\x00"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202eabc\u2028", r"\u202eabc\u2028"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
        ("zoë 木", "zoë 木"),
    ],
)
def test_what_is_escaped(tmp_path: Path, value: str, shown: str) -> None:
    """Quotes, backslashes and everything that a terminal would act on; letters of any script stay."""
    assert _written(tmp_path, "text", {"value": value}).endswith(f" value='{shown}'\n")


def test_reopening(tmp_path: Path) -> None:
    """A file that was moved away is made anew; one that cannot be opened leaves the old one in use; nothing leaks."""
    log = Log("probe", str(tmp_path / "log"))
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "log").rename(tmp_path / "old")
    log(WORKER_BORN)
    log.reopen()
    log(WORKER_BORN)
    with pytest.raises(OSError):
        log.reopen(str(tmp_path / "nowhere" / "log"))
    log(WORKER_BORN)
    assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "old").read_text().count("\n") == 1
    assert (tmp_path / "log").read_text().count("\n") == 2
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640 & ~_umask()
    os.close(log.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_debugging_only_what_is_on(tmp_path: Path) -> None:
    """A debug entry appears if its option is on, with number 0000 and the option in its name."""
    log = Log("probe", str(tmp_path / "log"))
    log.debug("NET", "connected", port=1)
    log.options = frozenset({"NET"})
    log.debug("POP", "said", text="x")
    log.debug("NET", "connected", "s.1", port=2)
    os.close(log.fileno())
    (entry,) = log_entries(tmp_path / "log")
    assert (entry.sid, entry.level, entry.number, entry.name) == ("s.1", "DBG", "0000", "net_connected")
    assert entry.fields == {"port": "2"}


def test_numbers_are_used_once() -> None:
    """Each message has a number, a name and a help of its own, and one of the manual's levels."""
    assert len({message.number for message in SUPERVISOR_MESSAGES}) == len(SUPERVISOR_MESSAGES)
    assert len({message.name for message in SUPERVISOR_MESSAGES}) == len(SUPERVISOR_MESSAGES)
    assert {message.level for message in SUPERVISOR_MESSAGES} <= {"DBG", "INF", "ERR", "ADM", "SOS", "BUG"}


def test_stamps_with_milliseconds(tmp_path: Path) -> None:
    """The time has a fraction and its zone; all else of a line is as it was."""
    log = Log("probe", str(tmp_path / "log"), stamps="milliseconds")
    before = time.time()
    log(START, version="2.0")
    line = (tmp_path / "log").read_text()
    match = re.fullmatch(r"(\d{8} \d{6}\.\d{3}[+-]\d{4}) \S+ probe \d+ - INF 0001 start version='2.0'\n", line)
    assert match is not None, line
    stamp = datetime.strptime(match[1], "%Y%m%d %H%M%S.%f%z").timestamp()
    assert before - 0.001 <= stamp <= time.time()


@settings(deadline=None)
@given(
    values=st.lists(
        st.one_of(
            ANYTHING,
            st.text(st.characters(codec="ascii"), max_size=40),
            st.integers(),
            st.integers(0, 10**12).map(lambda thousandths: thousandths / 1000),
            st.floats(allow_nan=False),
            st.sampled_from([True, None, b"octets", 2**63, -(2**63), "\ud800", "x" * 513]),
        ),
        max_size=14,
    )
)
def test_what_is_written_often_is_written_alike(tmp_path_factory: pytest.TempPathFactory, values: list[object]) -> None:
    """The short way of an entry makes the very line that the long one makes, whatever is in it."""
    directory = tmp_path_factory.getbasetemp()
    fields = {f"f{number}": value for number, value in enumerate(values)}
    expected = _written(directory, "text", fields)
    path = directory / "log"
    path.unlink()
    log = Log("probe", str(path))
    log.often(Often(WORKER_BORN, tuple(fields)), "p.1.2", tuple(values))
    os.close(log.fileno())
    assert path.read_text()[15:] == expected[15:]  # after the second, which may have passed
