"""`.ci/nightly` goes through all of its parts, whatever becomes of one of them, and tells how each went."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import wait_until

ROOT = Path(__file__).parents[2]
STUB = """#!/bin/sh
[ "$1" != -c ] || { echo "@VERSION $0"; exit 0; }
[ "$1" != clone ] || { mkdir -p "$5" && cp -r .venv "$5"; }
called="$PWD $0 $*"
echo "$called" >> @CALLS
cat > /dev/null
case "$called" in
    *"$FAILS"*) echo "so it is"; exit 1 ;;
    *"$HANGS"*) echo $$ > @CALLS.hanging; exec sleep 1000 ;;
esac
echo well
"""
"""Stands for make, git and each Python. It reads what there is to read, as a program does that asks something."""
PARTS = {
    "packages": "",
    "core": "bin/make --no-print-directory core",
    "sanitizers, ten minutes of mutated dialogues": "bin/make --no-print-directory sanitize",
    "sanitizers find what is planted": "bin/python -m pytest -m nightly tests/sanitize -k",
    "200,000 sessions": "bin/python -m pytest -s tests/system/test_many_sessions.py",
    "tests marked nightly": "--ignore tests/sanitize",
    "core by a profile, made": "nightly/trained trained",
    "core by a profile: quick tests": "nightly/trained quick",
    "core by a profile: transcripts": "/trained .venv/bin/python -m pytest tests/transcripts",
    "3.18.2, compiled": "bin/python3.18 core",
    "3.18.2, compiled: quick tests": "bin/python3.18 quick",
    "3.18.2, compiled: transcripts": "/3.18.2 .venv/bin/python -m pytest tests/transcripts",
    "3.18.2, pure: quick tests": "bin/python3.18 pure",
    "3.19.0, compiled": "bin/python3.19 core",
    "3.19.0, compiled: quick tests": "bin/python3.19 quick",
    "3.19.0, compiled: transcripts": "/3.19.0 .venv/bin/python -m pytest tests/transcripts",
    "3.19.0, pure: quick tests": "bin/python3.19 pure",
    "Debian package, lintian": "bin/make --no-print-directory deb",
    "Debian package, installed": "bin/python -m pytest -m nightly tests/deploy/test_debian.py",
}
"""What each is called in the summary, and by which words its command is known."""
NOTHING = "(nothing)"


class Night:
    """The script in a directory of its own, where nothing is done of what it orders."""

    def __init__(self, directory: Path) -> None:
        self._tree, self._home, self._bin = (directory / name for name in ("tree", "home", "bin"))
        self._calls = directory / "calls"
        shutil.copytree(ROOT / ".ci", self._tree / ".ci")
        for path in (*(self._bin / name for name in ("make", "git", "cscli")), self._tree / ".venv/bin/python"):
            self._put(path)
        for version in ("3.18.1", "3.18.2", "3.19.0"):
            self._put(self._home / ".pyenv/versions" / version / "bin" / f"python{version[:4]}", version)
        (self._bin / "dpkg-query").write_text("#!/bin/sh\nprintf installed\n")
        (self._bin / "dpkg-query").chmod(0o755)

    def _put(self, path: Path, version: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB.replace("@VERSION", version).replace("@CALLS", str(self._calls)))
        path.chmod(0o755)

    def start(
        self, *parts: str, fails: str = NOTHING, hangs: str = NOTHING, limit: str = "1h"
    ) -> subprocess.Popen[str]:
        """Begins it, in a session of its own as cron does; what fails or hangs is known by its words."""
        environment = os.environ | {"PATH": f"{self._bin}:{os.environ['PATH']}", "HOME": str(self._home)}
        environment |= {"FAILS": fails, "HANGS": hangs, "NIGHTLY_LIMIT": limit}
        return subprocess.Popen(
            [str(self._tree / ".ci/nightly"), *parts],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *parts: str, **ways: str) -> tuple[int, dict[str, str]]:
        """Its exit code, and how each part went. `ways`: see `start`."""
        process = self.start(*parts, **ways)
        said, _ = process.communicate(timeout=patient(60))
        return process.returncode, summary(said)

    def calls(self) -> str:
        """All that was ordered."""
        return self._calls.read_text() if self._calls.exists() else ""

    def hanging(self) -> int:
        """The process that does not end, as soon as there is one."""
        told = Path(f"{self._calls}.hanging")
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"), "it hangs", patient(20))
        return int(told.read_text())


def summary(said: str) -> dict[str, str]:
    """How each part went, by the rows that come last."""
    rows = said.rpartition(" minutes\n")[2].splitlines()
    return {row[:46].strip(): row[47:55].strip() for row in rows}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """One in which nothing is done."""
    return Night(tmp_path)


def test_all_parts_run(night: Night) -> None:
    """Each stands in the summary; of each minor version of Python the newest is taken."""
    code, went = night.run()
    assert (code, {went.get(part) for part in PARTS}) == (0, {"passed"}), went
    assert "3.18.1, compiled" not in went
    assert [words for words in PARTS.values() if words not in night.calls()] == []


def test_none_keeps_another_from_running(night: Night) -> None:
    """Though every one fails that can: what is not installed is asked of a stand-in here that has everything."""
    code, went = night.run(fails="")
    assert (code, went.pop("packages")) == (1, "passed")
    assert {went.get(part) for part in PARTS if part != "packages"} == {"FAILED"}, went


def test_one_that_fails_is_not_forgotten(night: Night) -> None:
    """The others have passed, and the whole has failed."""
    code, went = night.run("sanitize", "deb", fails=PARTS["Debian package, lintian"])
    assert (code, went.pop("Debian package, lintian"), set(went.values())) == (1, "FAILED", {"passed"})


def test_one_that_hangs_is_ended(night: Night) -> None:
    """After the limit; the next one runs."""
    part = "sanitizers, ten minutes of mutated dialogues"
    code, went = night.run("sanitize", hangs=PARTS[part], limit=f"{patient(2)}s")
    assert (code, went.pop(part), set(went.values())) == (1, "TOO LONG", {"passed"})
    assert not Path(f"/proc/{night.hanging()}").exists()


def test_a_run_that_is_ended_tells_how_far_it_came(night: Night) -> None:
    """And leaves nothing running: what runs is interrupted, so that tests end what they have started."""
    process = night.start("sanitize", "deb", hangs=PARTS["sanitizers find what is planted"])
    hanging = night.hanging()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=patient(30))
    assert (process.returncode, Path(f"/proc/{hanging}").exists()) == (143, False)
    assert list(summary(said)) == ["packages", "core", "sanitizers, ten minutes of mutated dialogues", "ended early"]


def test_a_part_that_there_is_not(night: Night) -> None:
    """Is said before anything is done."""
    process = night.start("sanitize", "packages")
    process.communicate(timeout=patient(30))
    assert (process.returncode, night.calls()) == (2, "")
