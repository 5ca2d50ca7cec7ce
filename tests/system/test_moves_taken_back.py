"""Moves that are under way while their place goes, or the program ends: over real workers, and a program that waits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.pcontrol.connection import Connection
from tests.system.site import PATIENCE, wait_until
from tests.system.test_operating import Site, copier
from tests.system.test_operator_state import FILE

WAITS = "while [ ! -e {}/go ]; do sleep 0.05; done; sleep 70 & exit 0"
"""It leaves a child behind that has its standard error for longer than a move may take."""


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Site]:
    """A site whose move command waits for a file."""
    made = Site(tmp_path, copier(tmp_path, WAITS.format(tmp_path)))
    with made.stores[0].backend, made.stores[1].backend, made.proxy:
        yield made


@contextmanager
def being_moved(site: Site, directory: Path, to: str) -> Iterator[list[tuple[bool, str]]]:
    """His program runs when the block begins; the answer comes into the list by its end."""
    answers: list[tuple[bool, str]] = []
    connection = Connection(site.proxy.rundir / "pproxy.ctrl", PATIENCE)

    def move() -> None:
        said = connection.say(f"user move joe {to}")
        answers.append((said.ok, said.text))

    moves = threading.Thread(target=move, daemon=True)
    moves.start()
    wait_until(lambda: (directory / "copied").exists(), "the command runs")
    yield answers
    moves.join(PATIENCE)
    connection.close()


def test_the_place_of_a_move_goes_by_a_rollback(waiting: Site, tmp_path: Path) -> None:
    """The mail is copied and nobody could read it there: he stays where he was."""
    site, proxy = waiting, waiting.proxy
    control = Connection(proxy.rundir / "pproxy.ctrl", PATIENCE)
    three = f"backend conf three host 127.0.0.1 port {site.stores[1].backend.port} state online"
    whole = [line for line in proxy.said("show config").lines if line and not line.startswith("#")]
    assert all(one.ok for one in control.say_all(["draft begin", *(f"draft say {line}" for line in (*whole, three))]))
    assert control.say("draft apply").ok
    with being_moved(site, tmp_path, "three") as answers:
        assert control.say("rollback").ok
        (tmp_path / "go").touch()
    control.close()
    ((done, text),) = answers
    assert not done
    assert text.startswith("the backend three is there no more; everything is as it was before")
    assert site.tries("joe") == b"+OK one"
    proxy.said("user move joe two")
    assert site.tries("joe") == b"+OK two", "what the program leaves behind is not waited for"


@pytest.mark.parametrize("how", ["delayed", "all"])
def test_who_moves_somebody_hears_of_the_end_of_the_program(waiting: Site, tmp_path: Path, how: str) -> None:
    """And where it stood: it is taken back, on the disk too."""
    with being_moved(waiting, tmp_path, "two") as answers:
        assert waiting.proxy.control(f"shutdown {how}").ok
    ((done, text),) = answers
    assert not done
    assert "is killed, for the program is ending; everything is as it was before" in text
    waiting.proxy.process.wait(PATIENCE)
    assert "user" not in (tmp_path / FILE).read_text()
