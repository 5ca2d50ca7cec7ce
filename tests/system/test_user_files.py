"""User files of a running proxy: a bad line keeps nobody out but its user, and what has changed counts by itself."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

GOOD = ["default:joe:{PLAIN}joe:b1:", "default:ann:{PLAIN}ann:b1:"]
BAD = ["default:bob:{PLAIN}canary-4711", "nonsense"]


class Users:
    """A proxy with a file of users, whose mailboxes all are empty."""

    def __init__(self, directory: Path, *lines: str, more: str = "") -> None:
        self.file = directory / "users"
        self.write(*lines)
        self.port = free_port()
        self.rc = [
            "backend conf b1 host 127.0.0.1 port 1 state fake",
            f"pdm add users passwd {self.file} {more}",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.proxy = Proxy(directory, [*self.rc, "set pdmwatch 1s"], metrics="127.0.0.1:0")

    def write(self, *lines: str) -> None:
        """As an operator should: a finished file, renamed."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        os.utime(new, (0, 0))  # the time that counts is one that nobody can set
        new.rename(self.file)

    def may_in(self, user: str, password: str) -> bool:
        with PopClient(self.port) as client:
            reply = client.log_in(user, password)
        assert reply.startswith((b"+OK", b"-ERR [AUTH]")), reply
        return reply.startswith(b"+OK")

    def everywhere(self, user: str, password: str) -> bool:
        """Whether both workers let him in; which of them a connection meets is the kernel's choice."""
        return all(self.may_in(user, password) for _ in range(12))

    def nowhere(self, user: str, password: str) -> bool:
        return not any(self.may_in(user, password) for _ in range(12))

    def notes(self) -> list[str]:
        return [entry.fields["note"] for entry in self.proxy.log("config_note")]


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Users]:
    site = Users(tmp_path, *GOOD, *BAD)
    with site.proxy:
        yield site


def told(path: Path) -> list[str]:
    return [
        f"{path}: 2 bad lines are skipped",
        f"{path}:3: 3 of the fields NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET] are there",
        f"{path}:4: 1 of the fields NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET] are there",
    ]


def test_a_bad_line_is_told_wherever_one_looks(users: Users) -> None:
    """In the reply to who reloads the module, in the log, in `pdm show`, and as a metric; once, not by worker."""
    assert users.everywhere("joe", "joe")
    notes = told(users.file)
    assert users.notes() == notes
    assert users.proxy.said("pdm reload users").text == "; note: ".join(["module users is reloaded", *notes])
    assert users.proxy.said("pdm show users").lines[1:] == [f"# {note}" for note in notes]
    assert users.proxy.json("pdm show users")["skipped"] == 2
    users.proxy.said("set softfail on")
    assert users.notes() == [*notes, *notes], "a change of something else tells nothing anew"
    assert "canary" not in users.proxy.logfile.read_text()
    assert scrape(users.proxy).value("popular_module_skipped_lines", module="users") == 2


def test_check_tells_it(users: Users, tmp_path: Path) -> None:
    """By a running program and without one; it is good all the same, and with `strict` it is not."""
    rc = tmp_path / "pproxy.rc"
    rc.write_text("".join(f"{line}\n" for line in users.rc))
    pcontrol = [program("pcontrol"), "-r", str(users.proxy.rundir), "check", str(rc)]
    alone = [program("pproxy"), "--check", "-c", str(rc)]
    for command in (pcontrol, alone):
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
        assert done.returncode == 0, done
        assert told(users.file)[1] in done.stdout + done.stderr
    rc.write_text("".join(f"{line} strict\n" if line.startswith("pdm") else f"{line}\n" for line in users.rc))
    for command in (pcontrol, alone):
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
        assert done.returncode == 1, done
        assert told(users.file)[1] in done.stdout + done.stderr


def test_a_changed_file_counts_by_itself(users: Users) -> None:
    """In every worker, with nobody saying anything; also by exchanging a link, and in a worker that is new."""
    assert users.nowhere("eve", "eve")
    users.write(*GOOD, "default:eve:{PLAIN}eve:b1:")
    wait_until(lambda: users.proxy.log("sentence")[-1].fields["line"] == "pdm check", "the file is read anew")
    assert users.everywhere("eve", "eve")
    assert users.notes() == told(users.file), "of the new file there is nothing to tell"
    other = users.file.with_name("others")
    other.write_text("default:eve:{PLAIN}new:b1:\n")
    users.file.unlink()
    users.file.symlink_to(other)
    wait_until(lambda: users.everywhere("eve", "new"), "the other file counts")
    assert users.nowhere("joe", "joe")
    users.proxy.said("set workers 3")
    assert users.everywhere("eve", "new")
    before = len(users.proxy.log("sentence"))
    wait_until(lambda: users.proxy.said("pdm check").text == "nothing has changed", "it stays so")
    assert len(users.proxy.log("sentence")) == before


@pytest.mark.parametrize("more", ["", "strict"])
def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, more: str) -> None:
    """Gone, everybody's, nothing but bad lines, or one bad line and `strict`: told once, and repaired by itself."""
    users = Users(tmp_path, *GOOD, more=more)
    with users.proxy:
        assert users.everywhere("joe", "joe")
        cases = {"cannot be read": users.file.unlink, "chmod o-w": lambda: users.file.chmod(0o666)}
        if more:
            cases["3 of the fields"] = lambda: users.write(*GOOD, *BAD)
        else:
            cases["no line of this file is good"] = lambda: users.write(*BAD)
        for number, (reason, spoil) in enumerate(cases.items(), 1):
            spoil()
            wait_until(lambda: len(users.notes()) == number, f"{reason} is told")  # noqa: B023
            assert reason in users.notes()[-1]
            assert users.notes()[-1].endswith("; what was read before stays in use")
            users.proxy.said("set softfail on")
            assert users.proxy.said("pdm check").text == "nothing has changed", "it is not read again and again"
            assert users.everywhere("joe", "joe")
            users.write(*GOOD, f"default:u{number}:{{PLAIN}}u:b1:")
            wait_until(lambda: users.everywhere(f"u{number}", "u"), "a good file counts again")  # noqa: B023
            assert len(users.notes()) == number
        assert not users.proxy.control("pdm reload nobody").ok
        users.file.unlink()
        refused = users.proxy.control("pdm reload users")
        assert not refused.ok, "who says it himself wants to know"
        assert "cannot be read" in refused.text


def test_a_file_that_is_being_written_is_left_alone(users: Users) -> None:
    """One that is written in place is looked at again when it has been quiet for a second: no user is missed."""
    gone = []
    with users.file.open("w") as file:
        for number in range(25):
            file.write(f"default:u{number}:{{PLAIN}}u:b1:\n")
            file.flush()
            users.proxy.said("pdm check")
            gone.append(users.nowhere("joe", "joe"))
        file.write("".join(f"{line}\n" for line in GOOD))
    assert not any(gone)
    wait_until(lambda: users.everywhere("u24", "u"), "the finished file counts")
    assert users.everywhere("joe", "joe")
