"""What the source as a whole keeps to."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from deploy.man.parts import messages
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.serving.session import BASE_ENDINGS

ROOT = Path(__file__).parents[2]
PACKAGES = ("supervisor", "metrics", "popular", "deploy")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES = 500
SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
ENDS_BY_FORMAT = "_timeout"
"""How a driver names the ending of a deadline that has passed: f"{what}_timeout"."""

SHARED = ("popular/net", "popular/protocol")
ENDINGS = [
    *((ending, ("popular/proxy", *SHARED)) for ending in PPROXY.endings),
    *((ending, ("popular/store", *SHARED)) for ending in PSERV.endings),
    *((ending, ("supervisor", "popular/proxy", "popular/store")) for ending in BASE_ENDINGS),
]
TABLES = {"endings.py", "messages.py", "context.py"}
"""Where an ending, or a message of the same name, is a row."""


@cache
def trees() -> dict[Path, ast.Module]:
    """All sources, read when somebody asks: whoever only imports this has no million nodes in memory."""
    return {path: ast.parse(path.read_text("utf-8")) for path in SOURCES}


def test_every_module_says_what_it_is() -> None:
    """Each has a docstring; of the tests, each file that is not empty."""
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.stat().st_size]
    read = trees() | {path: ast.parse(path.read_text("utf-8")) for path in tests}
    assert len(read) > len(trees()) > 0
    assert [path for path, tree in read.items() if not ast.get_docstring(tree)] == []


def test_no_source_file_is_too_long() -> None:
    """None has more lines than one can keep in mind."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_every_name_says_something() -> None:
    """No file or folder is called by a name that would suit any other one as well."""
    paths = [path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*")]
    assert [path for path in paths if path.stem in SAY_NOTHING] == []


def test_a_message_number_is_given_once() -> None:
    """No two messages of any two programs are made with one number, and each is in the manual."""
    made = sorted(number for tree in trees().values() for number in numbers(tree))
    assert made == [message.number for message in messages()]
    assert len(set(made)) == len(made)


def numbers(tree: ast.AST) -> Iterator[int]:
    """The numbers of the messages that a file makes."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Message"), args=[ast.Constant(value=int(number)), *_]):
                yield number


@pytest.mark.parametrize(("ending", "folders"), ENDINGS, ids=[f"{folders[0]}-{name}" for name, folders in ENDINGS])
def test_every_ending_can_happen(ending: str, folders: tuple[str, ...]) -> None:
    """The program that has it in its table has it somewhere in its code, too."""
    own = [
        tree
        for path, tree in trees().items()
        if path.name not in TABLES and path.relative_to(ROOT).as_posix().startswith(tuple(f"{it}/" for it in folders))
    ]
    said = {word for tree in own for word in words(tree)}
    what = ending.removesuffix(ENDS_BY_FORMAT)
    assert ending in said or (what != ending and {what, f"*{ENDS_BY_FORMAT}"} <= said)


def words(tree: ast.AST) -> Iterator[str]:
    """The strings of a file; one that is put together begins with a star: f"{what}_timeout" is "*_timeout"."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(word)):
                yield word
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(end))]):
                yield f"*{end}"
