"""Writes the manual pages. `--check` writes nothing, and exits 1 if a page is not what the tables say."""

import sys
from pathlib import Path

from deploy.man.pages import pages

HERE = Path(__file__).parent


def stale() -> list[str]:
    """The pages whose file is missing, old, or no longer made."""
    made = pages()
    there = {path.name for path in HERE.glob("*.[1-8]")}
    return sorted(name for name in made.keys() | there if name not in made or not _is_fresh(name, made[name]))


def _is_fresh(name: str, text: str) -> bool:
    path = HERE / name
    return path.exists() and path.read_text() == text


def main() -> int:
    """The command."""
    if sys.argv[1:] == ["--check"]:
        for name in stale():
            print(f"{name}: not what the tables say; run `make man`", file=sys.stderr)
        return 1 if stale() else 0
    for name in stale():
        (HERE / name).unlink(missing_ok=True)
    for name, text in pages().items():
        (HERE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
