"""The command line of a program: what every one of them has in common.

What an option or an argument takes as text, a name or a path, is never empty: `-u "$USER"` in a script in which USER is
not set would otherwise be as good as no `-u` at all. Where an empty text means something the argument says `type=str`.
"""

import argparse
from pathlib import Path
from typing import Any


class CommandLine(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that takes no empty text."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, allow_abbrev=False, **options)
        self.register("type", None, not_empty)
        self.register("type", Path, lambda text: Path(not_empty(text)))


def not_empty(text: str) -> str:
    """An option's type: any text but none at all. Raises argparse.ArgumentTypeError."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; leave it out, or say one (is a variable of a script not set?)")
    return text
