"""The commands that are installed: those that begin in a function, and those with a file of their own."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FUNCTIONS: dict[str, str] = _PYPROJECT["project"]["scripts"]
"""Where the first ones begin, by their names."""
FILES = {Path(path).name: ROOT / path for path in _PYPROJECT["tool"]["setuptools"]["script-files"]}
COMMANDS = (*FUNCTIONS, *FILES)
