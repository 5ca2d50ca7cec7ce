"""Writes the dashboards. `--check` writes nothing, and exits 1 if a file is not what the tables say."""

import json
import sys
from pathlib import Path

from deploy.grafana.backends import BACKENDS
from deploy.grafana.classic import dashboard
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.workers import WORKERS

HERE = Path(__file__).parent / "dashboards"
BOARDS = (OVERVIEW, BACKENDS, WORKERS)


def files() -> dict[str, str]:
    """Name and text of each file."""
    return {f"{board.uid}.json": json.dumps(dashboard(board), indent=2) + "\n" for board in BOARDS}


def stale() -> list[str]:
    """The files that are missing, old, or no longer made."""
    made = files()
    there = {path.name: path.read_text() for path in HERE.glob("*.json")}
    return sorted(name for name in made.keys() | there if made.get(name) != there.get(name))


def main() -> int:
    """The command."""
    if sys.argv[1:] == ["--check"]:
        for name in stale():
            print(f"{name}: not what the tables say; run `make dashboards`", file=sys.stderr)
        return 1 if stale() else 0
    made = files()
    HERE.mkdir(exist_ok=True)
    for name in stale():
        if name in made:
            (HERE / name).write_text(made[name])
        else:
            (HERE / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
