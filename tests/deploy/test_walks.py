"""The walks in ARCHITECTURE.md can be followed: each file is there and has what is to be read in it."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
ROW = re.compile(r"^\| (\d+) \| `([\w/.]+)` \| (.+?) \| .+ \|$", re.MULTILINE)
MOST_FILES = {"A login": 12, "A command": 15, "A metric": 6, "A certificate": 12, "A configuration": 8}
"""A walk is to be read in ten minutes."""


class Step(NamedTuple):
    """One row of a walk."""

    number: int
    file: str
    names: list[str]


def walks() -> dict[str, list[Step]]:
    """By the words before the colon of the heading."""
    found = {}
    for section in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition(":")
        body = rest.split("\n## ")[0]
        found[title] = [
            Step(int(number), file, re.findall(r"`(\w+)`", names)) for number, file, names in ROW.findall(body)
        ]
    return found


def defined(file: str) -> set[str]:
    """The functions, methods, classes and module variables of a file."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
    return names


def test_all_walks_are_there() -> None:
    """And each has its rows."""
    assert walks().keys() == MOST_FILES.keys()
    assert min(len(steps) for steps in walks().values()) >= 5


@pytest.mark.parametrize("title", MOST_FILES)
def test_a_walk_can_be_followed(title: str) -> None:
    """Its steps count up, its names are defined in its files, and it is short."""
    steps = walks()[title]
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.names for step in steps)
    assert {step.file: missing for step in steps if (missing := set(step.names) - defined(step.file))} == {}
    assert len({step.file for step in steps}) <= MOST_FILES[title]
