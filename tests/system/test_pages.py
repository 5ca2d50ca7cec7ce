"""The commands of README.md and of the pages below docs run as written: each page from top to bottom, in one shell.

A block that is marked `sh` is run in a folder with what a clone has and `make` has made; `sh with-demo` while the demo
runs. They have ports of their own, so these tests run alone.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import need

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh( with-demo)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_A_CLONE = ("Makefile", "pyproject.toml", "README.md", "deploy", "popular", "supervisor", "metrics")
RUNNING = "A small mail site is running"


def blocks(page: Path, *, demo: bool) -> list[str]:
    """The commands of a page, in order."""
    return [text for mark, text in BLOCK.findall(page.read_text("utf-8")) if bool(mark) is demo]


def pages(*, demo: bool) -> list[str]:
    """Those that have such blocks."""
    return [page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page, demo=demo)]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A folder with what the commands name, and the environment that runs the tests in the place of its own."""
    for name in ("sh", "make", "curl", "openssl"):
        need(name)
    for name in OF_A_CLONE:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / ".venv/.ready").touch()
    yield tmp_path
    for control in tmp_path.glob("*/*/p*.*.ctrl"):  # what a page has started, if it failed on its way
        subprocess.run([tmp_path / ".venv/bin/pcontrol", "-s", control, "shutdown", "all"], timeout=patient(30))
    shutil.rmtree(tmp_path, ignore_errors=True)


def run(commands: list[str], clone: Path) -> None:
    """In one shell, which ends at the first command that fails."""
    script = "set -eu\n" + "\n".join(commands)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=patient(60),
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", pages(demo=False))
def test_the_commands_of_a_page_run(page: str, clone: Path) -> None:
    """From top to bottom; each command ends well, and what was started is ended by the page itself."""
    run(blocks(ROOT / page, demo=False), clone)
    deadline = time.monotonic() + patient(20)
    while list(clone.glob("*/*/p*.*.ctrl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(clone.glob("*/*/p*.*.ctrl")) == [], "something still runs"


def test_with_the_demo(clone: Path) -> None:
    """The commands about it of all pages, while it runs on its own ports. (A short name: sockets' paths are short.)"""
    demo = subprocess.Popen(["make", "run"], cwd=clone, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        assert demo.stdout is not None
        said = ""
        while RUNNING not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        for page in pages(demo=True):
            run(blocks(ROOT / page, demo=True), clone)
    finally:
        demo_processes = f"-{demo.pid}"
        subprocess.run(["kill", "-INT", "--", demo_processes], timeout=patient(10))
        demo.communicate(timeout=patient(30))


def test_pages_have_commands() -> None:
    """That no block is found would pass for the wrong reasons."""
    assert {"README.md", "docs/operating.md", "docs/configuration.md", "docs/modules.md"} <= set(pages(demo=False))
    assert {"README.md", "docs/watching.md"} <= set(pages(demo=True))
