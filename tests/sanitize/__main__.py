"""`make sanitize`: transcripts, attacks on TLS and mutated dialogues, with the core under gcc's sanitizers.

    POPULAR_TEST_PATIENCE=5 python -m tests.sanitize [--minutes 10] [--seed 1]

Watched code is slow: with less patience its proxy is given up on a busy machine. Exit codes: 0 all is well, 1 a test
failed, a sanitizer has reported something, or the core cannot be built.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.patience import FACTOR
from tests.sanitize import build
from tests.sanitize.fuzz import Fuzzer
from tests.system.site import Proxy

PARTS = {
    "transcripts, on the machine and through real processes": "tests/transcripts",
    "attacks on TLS": "tests/system/test_tls_attacks.py",
}
SLOWER = 5.0
"""The patience of the tests, at the least."""


def run_tests(log: Path, where: str) -> int:
    """The exit code of tests with the watched core."""
    environment = build.watched(log) | {"POPULAR_TEST_PATIENCE": f"{max(FACTOR, SLOWER):g}"}
    command = [sys.executable, "-m", "pytest", "--no-header", "-p", "no:cacheprovider", where]
    return subprocess.run(command, cwd=build.TREE, env=environment).returncode


class WatchedProxy(Proxy):
    """One that tells, where it does not end as it should, what it said last."""

    def stop(self, command: str = "shutdown all") -> None:
        try:
            super().stop(command)
        except AssertionError as error:
            last = "\n".join(entry.line for entry in self.log()[-12:])
            raise AssertionError(f"exit code {self.process.returncode}: {self.stderr.read_text()}\n{last}") from error


def fuzz(log: Path, seconds: float, *, seed: int, a_round: int = 25) -> int:
    """Mutated dialogues for so long, with a watched proxy; gives their number."""
    before = dict(os.environ)
    os.environ.update(build.watched(log))
    try:
        with tempfile.TemporaryDirectory(prefix="popular-") as made:
            directory = Path(made)
            with WatchedProxy(directory, options=("-n", "500")) as proxy:
                fuzzer = Fuzzer(proxy, directory, seed=seed, a_round=a_round)
                try:
                    fuzzer.run(seconds)
                finally:
                    fuzzer.close()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return fuzzer.dialogues


def main() -> int:
    """All of it. Each part is told with its time; what the sanitizers said comes last."""
    parser = argparse.ArgumentParser(prog="python -m tests.sanitize", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="of mutated dialogues (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: %(default)d)")
    given = parser.parse_args()
    _timed("the core, compiled", lambda: build.build() or "")
    with tempfile.TemporaryDirectory(prefix="popular-asan-") as made:
        log = Path(made) / "report"
        failed = [name for name, where in PARTS.items() if _timed(name, partial(run_tests, log, where))]
        _timed("mutated dialogues", lambda: f"{fuzz(log, given.minutes * 60, seed=given.seed)} of them")
        found = build.reports(log)
    print(*found, f"{len(found)} reports of the sanitizers", *(f"failed: {name}" for name in failed), sep="\n")
    return int(bool(found or failed))


def _timed(what: str, do: Callable[[], int | str]) -> int | str:
    began = time.monotonic()
    result = do()
    print(f"{what}: {time.monotonic() - began:.0f} s {result or ''}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
