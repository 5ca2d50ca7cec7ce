"""The supervisor and the watchers hold no word of what a program does, and no program's name: rows hand them over.

Looked at are names and strings; docstrings and comments may give examples.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from popular.programs import PROGRAMS
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV

ROOT = Path(__file__).parents[2]
WORDS = re.compile(
    r"pproxy|pserv(?!e)|pcheck|pdeliver|libpdm|pop3|xpop|(?<![a-z])pop(?![a-z(])|mail|imap|login|log_in|password"
    r"|vserv|backend|(?<![a-z])pdm|stls|starttls|uidl|banner|(?<![a-z])apop",
    re.IGNORECASE,
)
SOURCES = sorted(path for package in ("supervisor", "metrics") for path in (ROOT / package).rglob("*.py"))
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
"""From Python 3.12 on an f-string comes in pieces."""
WEB = sorted(path for path in (ROOT / "metrics" / "web").iterdir() if path.suffix in (".js", ".html", ".css"))


def test_the_programs_are_those_that_there_are() -> None:
    """What pcontrol and pstatus are told is what the supervisor runs."""
    assert (PPROXY.name, PSERV.name) == PROGRAMS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_word_of_pop3(path: Path) -> None:
    """In no name and in no string."""
    assert [(line, text) for line, text in spoken(path.read_text("utf-8")) if WORDS.search(text)] == []


@pytest.mark.parametrize("path", WEB, ids=lambda path: path.name)
def test_no_word_of_pop3_on_the_page(path: Path) -> None:
    """What it shows of a program the program's rows say."""
    code = re.sub(r"//.*", "", path.read_text("utf-8"))
    assert sorted(set(WORDS.findall(code)) - {"POPular"}) == []


def spoken(source: str) -> Iterator[tuple[int, str]]:
    """Names and strings with their lines; no comments, no strings that only document, and not list.pop."""
    documents = {
        node.value.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_name = token.type == tokenize.NAME and token.string != "pop"
        if is_name or (token.type in STRINGS and token.start[0] not in documents):
            yield token.start[0], token.string


def test_such_a_word_would_be_found() -> None:
    """In names, in strings, in the middle of them; not in what documents, nor in other words that have its letters."""
    source = '"""pproxy"""\n# pserv\nlogin_failures = f"{x} backends"\ncells.pop(popular, "serve")\n'
    found = [WORDS.search(text) for _line, text in spoken(source)]
    assert [match.group() for match in found if match] == ["login", "backend"]
