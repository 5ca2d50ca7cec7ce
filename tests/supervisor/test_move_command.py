"""The operator's command in a move, by real programs: when it is over, what it has said, and what ends it."""

import os
import signal
import subprocess
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from supervisor.control.language.lookups import run
from supervisor.master.move_command import RunCommand
from tests.patience import patient
from tests.system.wire import wait_until

pytestmark = pytest.mark.processes


def outcome(script: str, seconds: float) -> str | None:
    """Why the command of this script failed, in a job of its own as the master has it."""
    process, receiver = begun(script, seconds)
    assert receiver.poll(patient(100))
    failure: str | None = receiver.recv()
    process.join()
    return failure


def begun(script: str, seconds: float) -> tuple[BaseProcess, Connection]:
    """The job, and where it tells why the command failed."""
    job = RunCommand(("/bin/sh", "-c", script), seconds)
    receiver, sender = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=lambda: sender.send(run(job).failure))
    process.start()
    return process, receiver


def test_it_is_over_when_the_program_is(tmp_path: Path) -> None:
    """Though a child that it leaves behind has its standard error; that child goes on."""
    child = tmp_path / "child"
    assert outcome(f"sleep 600 & echo $! > {child}; exit 0", patient(10)) is None
    os.kill(int(child.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("yes no | head -c 999999 >&2; echo room >&2; exit 3", "the command /bin/sh ended with exit code 3: room"),
        ("exec 2>&-; sleep 0.1; exit 4", "the command /bin/sh ended with exit code 4"),
        ("kill -9 $$", "the command /bin/sh ended with signal 9"),
    ],
)
def test_its_last_words_tell_why_it_failed(script: str, why: str) -> None:
    """However much it has said before, or whatever it has closed."""
    assert outcome(script, patient(60)) == why


def test_what_talks_without_end_has_its_time() -> None:
    """And what it has begun goes with it."""
    assert outcome("yes >&2 & yes >&2", 0.3) == "the command /bin/sh was not done in time, and is killed"


def test_an_end_while_it_begins_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come when the command runs already, and nobody knows of it yet."""
    popen, child = subprocess.Popen, tmp_path / "child"

    def ended_meanwhile(*words: Any, **options: Any) -> Any:
        made = popen(*words, **options)
        wait_until(lambda: child.exists() and child.read_text().endswith("\n"), "it runs")
        os.kill(os.getpid(), signal.SIGTERM)
        return made

    monkeypatch.setattr(subprocess, "Popen", ended_meanwhile)
    why = outcome(f"sleep 600 & echo $! > {child}; wait", patient(60))
    assert why == "the command /bin/sh is killed, for the program is ending"
    wait_until(lambda: _is_gone(child), "what it has begun is gone")


def test_the_end_of_the_job_ends_it(tmp_path: Path) -> None:
    """With all that it has begun: nothing of it goes on when the user comes in again."""
    child = tmp_path / "child"
    process, receiver = begun(f"sleep 600 & echo $! > {child}; wait", patient(60))
    wait_until(lambda: child.exists() and child.read_text().endswith("\n"), "it runs")
    process.terminate()
    assert receiver.poll(patient(30))
    assert "is killed, for the program is ending" in receiver.recv()
    process.join()
    wait_until(lambda: _is_gone(child), "what it has begun is gone")


def _is_gone(child: Path) -> bool:
    ended = Path(f"/proc/{child.read_text().strip()}/stat")
    return not ended.exists() or ended.read_text().split()[2] == "Z"
