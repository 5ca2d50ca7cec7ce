"""What the documents at the root say about the project is true."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from popular.proxy.program import PROGRAM
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.vserv import Vserv
from supervisor.control.commands.things import parameters

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
TREES = ("supervisor", "metrics", "popular", "deploy", "tests", "docs", ".ci")
FROM_ROOT = tuple(f"{tree}/" for tree in TREES)
SUFFIXES = {".py", ".txt", ".md", ".toml", ".rc", ".c", ".1", ".7", ".8"}
MADE_LATER = ("/", ".venv/", "popular-demo/")
"""Beginnings of paths that are not the project's: the host's, and what `make` makes."""

HALVES = {"supervisor", "popular", "popular/store"}
"""What is made of rooms."""

FILES = [path.relative_to(ROOT).as_posix() for tree in TREES for path in (ROOT / tree).rglob("*")]
FILES += [path.name for path in ROOT.iterdir()]


def paths(document: str) -> Iterator[str]:
    """What stands in backticks, or as the target of a link, and looks like a path of ours; `{a,b}.py` is two."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", text)
    links = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    for word in [*links, *(word for span in spans for word in span.split())]:
        is_path = "/" in word or Path(word).suffix in SUFFIXES
        if is_path and re.fullmatch(r"[\w.*{},/-]+", word) and not word.startswith(MADE_LATER):
            yield from braced(word.rstrip("/"))


def braced(word: str) -> list[str]:
    """Like the shell."""
    head, brace, rest = word.partition("{")
    choice, _, tail = rest.partition("}")
    return [f"{head}{one}{tail}" for one in choice.split(",")] if brace else [word]


def is_there(word: str) -> bool:
    """From the root, or from the folder that the text is about: `control/facts.py`. A star is as in the shell."""
    pattern = re.compile(r"(?:.*/)?" + re.escape(word).replace(r"\*", "[^/]*"))
    return any(pattern.fullmatch(file) for file in FILES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_exists(document: str) -> None:
    """Paths in backticks and links."""
    named = list(paths(document))
    assert len(named) >= 5
    assert [word for word in named if not is_there(word)] == []


def rooms() -> dict[str, Path]:
    """The folders with code of ours, by path."""
    pages = [path for tree in ("supervisor", "metrics", "popular") for path in (ROOT / tree).rglob("__init__.py")]
    return {page.parent.relative_to(ROOT).as_posix(): page.parent for page in pages}


@pytest.mark.parametrize("room", sorted(rooms().keys() - HALVES))
def test_a_room_says_what_each_of_its_files_is(room: str) -> None:
    """Its first page has a line for each, and for each room in it, and for none that is not there."""
    page = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text("utf-8"))) or ""
    named = re.findall(r"^(?: {4})?(\w+)(?:\.py)? {2,}\S", page, re.MULTILINE)
    inside = {path.stem for path in (ROOT / room).glob("[!_]*.py")}
    within = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
    assert sorted(named) == sorted(inside | within)


def test_every_room_is_in_the_table() -> None:
    """And each file that stands in none, beside the rooms."""
    table = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("\n## The rooms\n")[1].split("\n## ")[0]
    named = {path.rstrip("/") for path in re.findall(r"`([\w/.]+)`", table)}
    assert rooms().keys() - HALVES - named == set()
    loose = {path for half in HALVES for path in (ROOT / half).glob("[!_]*.py")}
    assert {path.name for path in loose} - {Path(name).name for name in named} == {"version.py"}


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links are relative to the page that has them; what looks like a path of ours in backticks begins at the root."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []
    spans = [span for span in re.findall(r"`([^`]+)`", text) if not span.startswith("kubectl ")]  # has deploy/pproxy
    words = [word for span in spans for word in span.split()]
    ours = [one for word in words if word.startswith(FROM_ROOT) and "*" not in word for one in braced(word)]
    assert [word for word in ours if not (ROOT / word).exists()] == []


def test_what_is_not_there_is_noticed() -> None:
    """A file that was moved, one of two in braces, and a folder that is gone."""
    assert [word for word in braced("popular/proxy/session/{session,sessions}.py") if not is_there(word)] == [
        "popular/proxy/session/sessions.py"
    ]
    assert not is_there("aster.py")
    assert not is_there("tests/nowhere")


def test_the_specification_names_everything() -> None:
    """Each variable, and each parameter of virtual servers and backends: of the manual, or beside it."""
    page = (ROOT / "docs/specification.md").read_text("utf-8")
    named = {word for span in re.findall(r"`([^`]+)`", page) for word in span.split()}
    known = {row.name for row in PROGRAM.variables} | parameters(Vserv).keys() | parameters(Backend).keys()
    assert known - named == set()


def test_every_variable_is_on_the_page() -> None:
    """The page that is in the repository explains each variable of pproxy."""
    page = (ROOT / "deploy/man/pproxy-control.7").read_text("utf-8").replace("\\-", "-")
    assert [row.name for row in PROGRAM.variables if f".TP\n\\fB{row.name}\\fR " not in page] == []
