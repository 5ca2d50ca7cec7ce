"""A list of users that is empty all at once: whatever makes it has failed, and nobody is to be unknown for that."""

import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from popular.pdm.contract import Authenticated, Module, ModuleFailed, Question, Secret
from popular.pdm.loader import OWN_DIRECTORY, load
from tests.patience import patient

LINE = "default:joe:{PLAIN}joe:b1:\n"


def pcdb(path: Path, lines: str, *words: str) -> int:
    """The exit code."""
    command = [sys.executable, "-m", "popular.pdm.pcdb", *words, str(path)]
    return subprocess.run(
        command, input=lines, capture_output=True, text=True, timeout=patient(60), check=False
    ).returncode


def write(name: str, path: Path, lines: str) -> None:
    """The file of such a module."""
    if name == "cdb":
        assert pcdb(path, lines, "--empty") == 0
    else:
        path.write_text(lines)


@pytest.mark.processes
@pytest.mark.parametrize("name", ["passwd", "cdb"])
def test_users_who_are_all_gone_stay(tmp_path: Path, name: str) -> None:
    """What was read before is not replaced by nothing, however often it is tried; a list that begins empty may be."""
    path = tmp_path / "users"
    question = Question("127.0.0.1", "POP3", "default", "joe", Secret(b"joe"), "v1")
    write(name, path, "")
    empty = cast(Module, load(OWN_DIRECTORY, name, "m", arguments=[str(path)]))
    assert empty.reload()
    write(name, path, LINE)
    module = empty.reload()
    write(name, path, "")
    for _ in range(2):
        with pytest.raises(ModuleFailed, match="all users are gone"):
            module.reload()
    assert isinstance(module.check(question), Authenticated)


@pytest.mark.processes
def test_no_users_make_no_database(tmp_path: Path) -> None:
    """`false | pcdb` leaves the old one; whoever means it says so."""
    path = tmp_path / "users.cdb"
    assert pcdb(path, "") == 1
    assert not path.exists()
    assert pcdb(path, LINE) == 0
    before = path.read_bytes()
    assert pcdb(path, "# nobody\n", "-s") == 1
    assert path.read_bytes() == before
    assert pcdb(path, "", "--empty") == 0
