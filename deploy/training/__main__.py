"""The second step: `python -m deploy.training [--core DIR] [--into build/training]`.

The programs are those of this Python's environment; `--core` is where a counting core lies that is not installed in it.
What was counted comes into a new directory, one file for each module, named as it is.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deploy.training.sessions import Clients, free_ports, is_open

DEMO = Path(sys.executable).with_name("popular-demo")
START_SECONDS = END_SECONDS = 300.0
"""Also beside a compiler's run, on a machine with little to spare: only what goes wrong takes as long."""
AT_EXIT = Path(__file__).with_name("at_exit")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m deploy.training", description=__doc__, allow_abbrev=False)
    parser.add_argument("--core", type=Path, help="where the counting core lies, if it is not installed")
    parser.add_argument("--into", type=Path, default=Path("build/training"), help="new directory (%(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        counted = Path(work, "counted")
        _serve(Path(work, "site"), _environment(chosen.core, counted))
        found = list(counted.rglob("*.gcda"))
        if not found:
            raise SystemExit("nothing was counted: the core was not compiled by gcc with POPULAR_PROFILE=collect")
        shutil.rmtree(chosen.into, ignore_errors=True)
        for path in found:
            _, _, stem = path.as_posix().rpartition("/build/cython/")
            target = chosen.into / stem
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    print(f"{len(found)} modules were counted")


def _environment(core: Path | None, counted: Path) -> dict[str, str]:
    """What the site's processes are told: where gcc writes its counters, and which core is taken."""
    paths = [AT_EXIT, *([core.resolve()] if core else [])]
    counting = {"GCOV_PREFIX": str(counted), "PYTHONPATH": os.pathsep.join(map(str, paths)), "POPULAR_PURE": "0"}
    return os.environ | counting


def _serve(directory: Path, environment: dict[str, str]) -> None:
    """The demo's site, from its start to its end, and the sessions in between."""
    ports = free_ports()
    words = ["--dir", directory, "--port", ports.clear, "--tls-port", ports.tls, "--metrics", "off"]
    site = subprocess.Popen([DEMO, *map(str, words)], env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_open(ports.tls):
            if site.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the site did not start")
            time.sleep(0.1)
        Clients(ports).play()
    finally:
        site.terminate()
        try:
            site.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            site.kill()  # its programs end with it
            raise


if __name__ == "__main__":
    main()
