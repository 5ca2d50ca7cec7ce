"""The project once more, in build/sanitize, with a core that gcc's sanitizers watch, and how it is run there.

Its tests import that core and start programs that import it, because it is a whole tree of its own. Only what changed
is copied and compiled again.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from supervisor import compiled

ROOT = Path(__file__).parents[2]
TREE = ROOT / "build" / "sanitize"
SANITIZERS = "address,undefined"
LEFT_BY_PYTHON = 8192
"""Octets. Measured: 368 to 3,006 in workers that end by `os._exit`: locks, a frame, octets that were being joined."""
_PARTS = (*compiled.PACKAGES, "metrics", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
_AT_EXIT = "sitecustomize.py"
"""Python imports it at the start of every process that has the tree in its path."""
_OPTIONS = {
    # The first fault ends the process, so that nothing goes on in a state that nobody has thought of.
    # What was freed is kept for a while, but not so much that tests which measure memory see it.
    "ASAN_OPTIONS": "abort_on_error=1:handle_abort=1:detect_leaks=1:leak_check_at_exit=0:quarantine_size_mb=4:"
    "log_exe_name=1:log_path={log}",
    "UBSAN_OPTIONS": "abort_on_error=1:halt_on_error=1:print_stacktrace=1:log_exe_name=1:log_path={log}",
    "PYTHONMALLOC": "malloc",  # Python's own allocator would hide the ends of what it gives
    "PYTHONPATH": str(TREE),
    "POPULAR_PURE": compiled.ALWAYS,
}


def build() -> None:
    """Makes the tree, or brings it up to date. Raises CalledProcessError with the compiler's words."""
    for path in _files():
        target = TREE / path.relative_to(ROOT)
        if not (target.exists() and filecmp.cmp(path, target, shallow=False)):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    shutil.copy2(Path(__file__).with_name("at_exit.py"), TREE / _AT_EXIT)
    translated = ROOT / "build/cython"
    if translated.exists():
        shutil.copytree(translated, TREE / "build/cython", copy_function=_newer, dirs_exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "POPULAR_PURE"}
    environment |= {"POPULAR_SANITIZE": SANITIZERS}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=TREE, env=environment, check=True, capture_output=True, text=True)


def _newer(source: str, target: str) -> None:
    """What was translated to C here, and is up to date, need not be once more."""
    if not os.path.exists(target) or os.path.getmtime(source) > os.path.getmtime(target):
        shutil.copy2(source, target)


def _files() -> Iterator[Path]:
    """What is in the tree, as it is here."""
    for part in _PARTS:
        path = ROOT / part
        yield from [path] if path.is_file() else (found for found in path.rglob("*") if _belongs(found))


def _belongs(path: Path) -> bool:
    made = path.suffix in (".so", ".pyc") or path.name.startswith("compiled.cpython") or "__pycache__" in path.parts
    return path.is_file() and not made


def watched(log: Path) -> dict[str, str]:
    """The environment of a process whose core is watched, and its children's. Reports become files LOG.EXE.PID."""
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    options = {name: text.format(log=log) for name, text in _OPTIONS.items()}
    return os.environ | options | {"LD_PRELOAD": found.stdout.strip()}


def reports(log: Path) -> list[str]:
    """What the sanitizers said, but for what Python leaves behind in a process that ends in the middle of its work."""
    found = [f"{path.name}:\n{path.read_text(errors='replace')}" for path in sorted(log.parent.glob(f"{log.name}.*"))]
    return [text for text in found if not _is_left_by_python(text)]


def _is_left_by_python(text: str) -> bool:
    """A few small things once in a process, however many sessions it served. What a session loses comes to more."""
    leaked = re.search(r"^SUMMARY: AddressSanitizer: (\d+) byte\(s\) leaked", text, re.MULTILINE)
    return leaked is not None and int(leaked[1]) < LEFT_BY_PYTHON and text.count("ERROR: ") == 1
