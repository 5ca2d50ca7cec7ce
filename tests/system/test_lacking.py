"""Workers that are born while a file of the config in force cannot be used: they serve all whom it does not concern."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

UNAVAILABLE = b"-ERR [SYS/TEMP]"


class Site:
    """Joe is in a file in front, ann in one after it; their mailboxes are empty."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "behind"
        self.port = free_port()
        self.write("default:ann:{PLAIN}ann:b1:")
        (directory / "front").write_text("default:joe:{PLAIN}joe:b1:\n")
        rc = [
            "backend conf b1 host 127.0.0.1 port 1 state fake",
            f"pdm add front passwd {directory / 'front'}",
            f"pdm add behind passwd {self.file}",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.proxy = Proxy(directory, rc)

    def write(self, line: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(f"{line}\n")
        new.rename(self.file)

    def answer(self, user: str, password: str) -> bytes:
        with PopClient(self.port) as client:
            return client.log_in(user, password)

    def renew_all(self) -> None:
        """All workers are killed at once."""
        old = self.proxy.workers()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(self.proxy.workers()) - set(old)) == 2, "both slots are filled")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.proxy:
        yield site


def test_only_who_needs_an_unusable_module_notices(site: Site) -> None:
    """Nobody waits without a greeting; and it is told in the log and by `pdm show`."""
    site.write("garbage")
    site.renew_all()
    for _ in range(6):
        assert site.answer("joe", "joe").startswith(b"+OK")
        for user in ("ann", "nobody"):
            assert site.answer(user, "ann").startswith(UNAVAILABLE)
        assert site.answer("joe", "wrong").startswith(UNAVAILABLE), "the module could have vouched for him"
    wait_until(lambda: bool(site.proxy.log("config_note")), "it is logged")
    (note,) = site.proxy.log("config_note")
    assert (note.level, note.fields["of"]) == ("ADM", "module behind")
    assert "no line of this file is good; it is not open" in note.fields["note"]
    assert site.proxy.said("pdm show behind").lines[1:] == [f"# {note.fields['note']}"]
    assert site.proxy.log("worker_retry") == []


def test_what_is_tried_is_tried_as_strictly_as_ever(site: Site) -> None:
    """A reload, a module that is not there, workers that are to be renewed: refused; and nothing was changed."""
    site.write("garbage")
    refused = site.proxy.control("workers recycle")
    assert not refused.ok
    assert "no line of this file is good" in refused.text
    assert site.answer("ann", "ann").startswith(b"+OK"), "the old workers have what was read before"
    site.renew_all()
    for command in ("pdm add x nosuch", "pdm reload behind", "workers recycle"):
        assert not site.proxy.control(command).ok, command
    site.proxy.said("set softfail on")
    assert site.proxy.said("pdm list").lines == ["front", "behind"]


def test_it_is_open_again_by_itself_when_its_file_is_good(site: Site) -> None:
    """In all workers, though nobody says a word."""
    site.proxy.said("set pdmwatch 1s")
    site.write("garbage")
    site.renew_all()
    wait_until(lambda: site.answer("ann", "ann").startswith(UNAVAILABLE), "it is not open")
    site.write("default:ann:{PLAIN}ann:b1:")
    wait_until(lambda: all(site.answer("ann", "ann").startswith(b"+OK") for _ in range(6)), "it is open again")
    wait_until(lambda: site.proxy.said("pdm show behind").lines[1:] == [], "nothing is said of it any more")


def test_the_cluster_and_the_secret_of_salts_are_done_without(site: Site, tmp_path: Path) -> None:
    """Their files are gone when workers are born: it is told, and over when they are there again."""
    files = {"saltfile": tmp_path / "salts", "clusterpasswordfile": tmp_path / "password"}
    for name, file in files.items():
        file.write_text("secret\n")
        file.chmod(0o600)
        site.proxy.said(f"set {name} {file}")
    site.proxy.said(f"set cluster redis://{LOOPBACK}:{free_port()}/0")
    for file in files.values():
        file.rename(file.with_suffix(".away"))
    site.renew_all()
    assert site.answer("joe", "joe").startswith(b"+OK")
    wait_until(lambda: len(site.proxy.log("config_note")) == 2, "both are told")
    assert {entry.fields["of"] for entry in site.proxy.log("config_note")} == {"cluster", "saltfile"}
    site.proxy.said("set softfail on")
    for file in files.values():
        file.with_suffix(".away").rename(file)
    wait_until(lambda: site.proxy.said("pdm check").text == "read anew: cluster, saltfile", "they are read")
    assert site.proxy.said("pdm check").text == "nothing has changed"
