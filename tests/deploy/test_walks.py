"""The walks in ARCHITECTURE.md can be followed: each file is there and has what is to be read in it."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
ROW = re.compile(r"^\| (\d+) \| `([\w/.]+)` \| (.+?) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)`")
FILELESS = re.compile(r"`([A-Za-z_]\w*(?:\.(?!py`)\w+)*)`")
"""What a row names without its file: `Class`, `Class.method`, `function`."""
PACKAGES = ("supervisor", "metrics", "popular")
MOST_FILES = {"A login": 11, "A command": 14, "A metric": 6, "A certificate": 12, "A configuration": 7}
"""How many files each needs, as ARCHITECTURE.md says beside its goals: it may become fewer, not more."""


class Step(NamedTuple):
    """One row of a walk."""

    number: int
    file: str
    names: list[str]
    beside: list[str]
    """Files that its words name, as if one should know them."""
    fileless: list[str]
    """Names in its words that need not be looked up."""

    @property
    def files(self) -> set[str]:
        """All that the reader has to open."""
        return {self.file, *(full_path(word, self.file) for word in self.beside)}


def walks() -> dict[str, list[Step]]:
    """By the words before the colon of the heading."""
    found = {}
    for section in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition(":")
        body = rest.split("\n## ")[0]
        found[title] = [
            Step(
                int(number),
                file,
                re.findall(r"`(\w+)`", names),
                NAMED.findall(f"{names} {words}"),
                FILELESS.findall(words),
            )
            for number, file, names, words in ROW.findall(body)
        ]
    return found


def full_path(word: str, of: str) -> str:
    """The file that is meant: from the root, beside the row's own, or the only one of this name."""
    for path in (ROOT / word, (ROOT / of).parent / word):
        if path.is_file():
            return path.relative_to(ROOT).as_posix()
    (only,) = (path for package in PACKAGES for path in (ROOT / package).rglob(word))
    return only.relative_to(ROOT).as_posix()


@functools.cache
def source(path: Path) -> ast.Module:
    """A file as Python reads it, read once."""
    return ast.parse(path.read_text("utf-8"))


def sources() -> list[Path]:
    """All files of the packages."""
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def defined(file: str | Path) -> set[str]:
    """The functions, methods, classes and module variables of a file."""
    names = set()
    for node in _outside_of_functions(source(ROOT / file)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def qualified(path: Path) -> Iterator[str]:
    """The functions of a file, and the methods and fields of its classes as `Class.method`."""
    for node in source(path).body:
        match node:
            case ast.FunctionDef(name=name):
                yield name
            case ast.ClassDef(name=of, body=body):
                yield from (f"{of}.{one.name}" for one in body if isinstance(one, ast.FunctionDef))
                yield from (f"{of}.{ast.unparse(one.target)}" for one in body if isinstance(one, ast.AnnAssign))


def _outside_of_functions(scope: ast.AST) -> Iterator[ast.AST]:
    """All but what functions have inside: a variable of theirs is not what a row means."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _outside_of_functions(node)


def test_all_walks_are_there() -> None:
    """And each has its rows."""
    assert walks().keys() == MOST_FILES.keys()
    assert min(len(steps) for steps in walks().values()) >= 5


@pytest.mark.parametrize("title", MOST_FILES)
def test_a_walk_can_be_followed(title: str) -> None:
    """Its steps count up, its names are defined in its files, and it is no longer than it says."""
    steps = walks()[title]
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.names for step in steps)
    assert {step.file: missing for step in steps if (missing := set(step.names) - defined(step.file))} == {}
    assert len(set().union(*(step.files for step in steps))) <= MOST_FILES[title]


def test_names_without_a_file_exist_too() -> None:
    """What a row says of a thing that need not be opened can be looked up all the same."""
    known = set().union(*map(defined, sources()))
    told = {name for steps in walks().values() for step in steps for name in step.fileless}
    assert len(told) > 20
    assert {name for name in told if not known.issuperset(name.split("."))} == set()
    within = {name for path in sources() for name in qualified(path)}
    methods = {name for name in told if "." in name and not name.endswith("()")}
    assert methods - within == set(), "a method stands in the class that is named, and in no base class of it"


def test_what_is_met_on_the_way_exists() -> None:
    """Each method stands in the class that the table names, and each function somewhere."""
    table = TEXT.split("**Met on the way.**")[1].split("\n\n")[1]
    called = re.findall(r"`([\w.]+)`", " ".join(line.split(" | ")[0] for line in table.splitlines()[2:]))
    assert len(called) > 10
    assert set(called) - {name for path in sources() for name in qualified(path)} == set()


def test_values_met_on_the_way_stand_where_the_table_says() -> None:
    """Each class is defined in the file beside it; of a field, its class is there and works with it."""
    table = TEXT.split("**Values met on the way.**")[1].split("\n\n")[1]
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w/.]+)` \|", table, re.MULTILINE)
    assert len(rows) == len(table.splitlines()) - 2 > 5
    assert [name for name, file in rows if name.partition(".")[0] not in defined(file)] == []
    fields = [(name.partition(".")[2], file) for name, file in rows if "." in name]
    assert [field for field, file in fields if f"self.{field} = " not in (ROOT / file).read_text("utf-8")] == []


def first_page(file: str) -> str:
    """What the room of a file says of itself."""
    return ast.get_docstring(source(ROOT / Path(file).parent / "__init__.py")) or ""


def test_every_contract_is_listed_where_it_stands() -> None:
    """All `Protocol`s: in the table, or on the first page of their room; and what else is in the table is defined in
    the file that its row names.
    """
    section = TEXT.split("\n## The contracts\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (`.+?) \|", section, re.MULTILINE)
    listed = {
        (name, file) for names, files in rows for name in re.findall(r"`(\w+)`", names) for file in NAMED.findall(files)
    }
    found = set()
    for path in sources():
        for node in ast.walk(source(path)):
            if isinstance(node, ast.ClassDef) and "Protocol" in {ast.unparse(base) for base in node.bases}:
                found.add((node.name, path.relative_to(ROOT).as_posix()))
    assert [(name, file) for name, file in found - listed if f"`{name}`" not in first_page(file)] == []
    assert [(name, file) for name, file in listed if name not in defined(file)] == []
