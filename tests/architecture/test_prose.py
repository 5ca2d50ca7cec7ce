"""Docstrings, comments and pages keep to the field's words, and send nobody to a book that he cannot open."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for package in ("supervisor", "metrics", "popular", "deploy") for path in (ROOT / package).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
PRIVATE = re.compile(
    r"\b(?:sentence|deed|clerk|errand|wayback|ledger|workshop|departure)s?\b|\ban job\b", re.IGNORECASE
)
"""Words that the source had for commands, handlers, the executor, jobs, the rollback point, counters and shutdowns."""
UNOPENABLE = re.compile(r"\bthe\s+manual(?:'s|:| has| asks| says)|\bmanual's chapter", re.IGNORECASE)
"""The manual of POPular 1.5: docs/specification.md says what we have of it."""
NOUNLESS = re.compile(r"\s*(?:(?:That|Those) of\b|Of\b|The same\b)")
"""How a docstring begins that leaves its reader to guess the noun: each is read alone, also by a tool that shows it."""


def docstrings(source: str) -> Iterator[str]:
    """Every string that stands alone: of modules, classes and functions, and below a name that it explains."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


def prose(source: str) -> Iterator[str]:
    """Every docstring and every comment."""
    yield from docstrings(source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_private_word_in_the_source(path: Path) -> None:
    """Nor a pointer to the manual of 2002."""
    found = [text for text in prose(path.read_text("utf-8")) if PRIVATE.search(text) or UNOPENABLE.search(text)]
    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_docstring_has_its_noun(path: Path) -> None:
    """It does not lean on the name above it, or on what stands before."""
    assert [text for text in docstrings(path.read_text("utf-8")) if NOUNLESS.match(text)] == []


def test_each_docstring_of_a_test_has_its_noun() -> None:
    """It is what is shown when the test fails, alone."""
    found = [
        (path.name, text) for path in TESTS for text in docstrings(path.read_text("utf-8")) if NOUNLESS.match(text)
    ]
    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_private_word_on_a_page(path: Path) -> None:
    """Names of events and metrics, which stay, stand in backticks."""
    text = re.sub(r"`[^`]*`", "", path.read_text("utf-8"))
    assert PRIVATE.findall(text) == []


def test_such_words_would_be_found() -> None:
    """In a docstring and in a comment, also over the end of a line; a manual page is one that can be opened."""
    source = '"""An errand, see the\nmanual\'s chapter."""\nx = 1  # the clerk\ny = "a sentence"\n'
    texts = list(prose(source))
    assert [bool(PRIVATE.search(text)) for text in texts] == [True, True]
    assert UNOPENABLE.search(texts[0])
    assert not UNOPENABLE.search("made from the manual pages")


def test_such_a_beginning_would_be_found() -> None:
    """Whatever is described: a module, a class, a method, a value; a word that only begins alike is none."""
    source = '''"""That of one."""\nclass A:\n    """Those of two."""\n    B = 1\n    """Of three."""\n    def c(self):
        """The same once more."""\n    def d(self):\n        """Offers, and those of others."""\n        x = "Of"\n'''
    found = [bool(NOUNLESS.match(text)) for text in docstrings(source)]
    assert sorted(found) == [False, True, True, True, True]
