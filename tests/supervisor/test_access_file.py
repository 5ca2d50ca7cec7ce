"""The access file on the disk: whose it must be, and what is said of one that cannot be used."""

import os
from pathlib import Path

import pytest

from popular.proxy.program import PROGRAM
from supervisor.control.language.language import Language
from supervisor.control.wire.access import FaultyAccess
from supervisor.control.wire.peer import Peer
from supervisor.master.accessfile import AccessFile

LANGUAGE = Language(PROGRAM.commands)
SOMEBODY = Peer(os.geteuid() + 1, 1, frozenset({4}))


def test_names_and_numbers(tmp_path: Path) -> None:
    """Groups and users are those of this host; a number is one as it is."""
    access = tmp_path / "access"
    access.write_text("group adm read\nuser 4711 all\n")
    found = AccessFile(str(access), LANGUAGE).read()
    assert found.refusal(Peer(4711, 1), "shutdown all", LANGUAGE) == ""
    access.write_text("group no-such-group read\nuser no-such-user read\n")
    with pytest.raises(FaultyAccess, match=r"(?s)access:1:7: there is no group.*access:2:6: there is no user"):
        AccessFile(str(access), LANGUAGE).read()


def test_without_one_who_can_connect_may_read() -> None:
    """As it was before there were access files."""
    found = AccessFile(None, LANGUAGE).read()
    assert found.refusal(SOMEBODY, "show config", LANGUAGE) == ""
    assert found.refusal(SOMEBODY, "kill 1", LANGUAGE).startswith("only root and the user of the program")


def test_nobody_else_may_have_written_it(tmp_path: Path) -> None:
    """Who can write it gives himself every right."""
    access = tmp_path / "access"
    access.write_text("group adm read\n")
    access.chmod(0o666)
    with pytest.raises(FaultyAccess, match="may be written by everybody"):
        AccessFile(str(access), LANGUAGE).read()


@pytest.mark.parametrize("name", ["no-such-file", "."])
def test_it_must_be_a_file_that_is_there(tmp_path: Path, name: str) -> None:
    """And the message names it."""
    with pytest.raises(FaultyAccess, match=f"access file {tmp_path}"):
        AccessFile(str(tmp_path / name), LANGUAGE).read()


def test_what_was_read_before_stays_where_it_is_cut(tmp_path: Path) -> None:
    """A right that is cut may be another one. At the first time nobody knows, and it counts."""
    access = tmp_path / "access"
    access.write_text("group adm say pdm reload users")
    file = AccessFile(str(access), LANGUAGE)
    file.read()
    access.write_text("group adm say pdm reload users2\n")
    file.read()
    access.write_text("group adm say pdm reload users")
    with pytest.raises(FaultyAccess, match="not written to its end"):
        file.read()
