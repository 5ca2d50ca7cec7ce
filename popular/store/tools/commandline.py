"""The command line of the storage tools: usage errors end with the tool's own exit code, and `--version`."""

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn

from supervisor.commandline import CommandLine
from supervisor.version import VERSION


class Parser(CommandLine):
    """A command line that exits with `usage_code` on a bad command line."""

    def __init__(self, program: str, description: str, usage_code: int, *, add_help: bool = True) -> None:
        super().__init__(prog=program, description=description, add_help=add_help)
        self._usage_code = usage_code
        self.add_argument(
            "--version", action="version", version=f"%(prog)s {VERSION}", help="show the version and exit"
        )

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self._usage_code, f"{self.prog}: {message}\n")


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """An option's type: a whole number in this range."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or len(text) > 18 or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def positive(text: str) -> float:
    """An option's type: a number above 0, with or without a fraction."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
