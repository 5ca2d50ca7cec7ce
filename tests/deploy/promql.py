"""Reads of a PromQL expression which metrics it selects, how, and by which labels it groups.

    selections('sum by (vserv) (rate(popular_logins_total{job="x"}[5m]))')
    → [Selection("popular_logins_total", {"job": "=x"}, "5m", ("sum", "rate"), {"vserv"})]

It knows the words and brackets of the language, and nothing of what an expression means: whether it is valid is for
promtool to say. What it does not expect is a ValueError, never skipped; `by` must stand before the brackets.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

AGGREGATION = "by"
MATCHING = {"on", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset", "atan2"}
NUMBERS = {"inf", "nan"}

_TOKEN = re.compile(
    r"""
      (?P<blank> \s+ | \#[^\n]* )
    | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<number> \d+(?:\.\d+)?(?:e[+-]?\d+)?(?:(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*)? )
    | (?P<span> \[ [^\]]* \] )
    | (?P<name> [a-zA-Z_:][a-zA-Z0-9_:]* )
    | (?P<sign> =~ | !~ | != | == | >= | <= | [-+*/%^=<>(){},@] )
    """,
    re.VERBOSE,
)


class Selection(NamedTuple):
    """One metric in an expression."""

    metric: str
    matchers: dict[str, str]
    """Label to operator and value: `=~pproxy|pserv`."""
    span: str
    """What stands in square brackets, or ""."""
    inside: tuple[str, ...]
    """The functions and aggregations around it, outermost first."""
    labels: frozenset[str]
    """The labels by which the aggregations around it group, and by which vectors are matched in the expression."""


class Token(NamedTuple):
    """A piece of an expression that is not blank."""

    kind: str
    text: str


def tokens(expression: str) -> list[Token]:
    """All of them. Raises ValueError at the first character that belongs to none."""
    found, place = [], 0
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            raise ValueError(f"not PromQL at {expression[place:]!r}")
        place = match.end()
        if match.lastgroup != "blank":
            found.append(Token(str(match.lastgroup), match[0]))
    return found


def selections(expression: str) -> list[Selection]:
    """In the order in which they stand there."""
    reader = _Reader(expression)
    return [it._replace(labels=it.labels | reader.matched) for it in list(reader.read())]


class _Bracket(NamedTuple):
    function: str
    by: tuple[str, ...] = ()


class _Reader:
    def __init__(self, expression: str) -> None:
        self._left = tokens(expression)
        self._around: list[_Bracket] = []
        self.matched: frozenset[str] = frozenset()

    def read(self) -> Iterator[Selection]:
        bracket = _Bracket("")
        while self._left:
            token = self._left.pop(0)
            if token.kind == "name":
                bracket = self._function(token.text)
                if not bracket.function and not self._is_operator(token.text):
                    yield self._selection(token.text)
                continue
            if token.text == "(":
                self._around.append(bracket)
            elif token.text == ")":
                self._around.pop()
            elif token.text in ("{", "}", "="):
                raise ValueError(f"{token.text} without a metric")
            bracket = _Bracket("")
        if self._around:
            raise ValueError("a bracket is not closed")

    def _function(self, word: str) -> _Bracket:
        """The function or aggregation that the word begins, if it begins one."""
        following = self._left[0].text if self._left else ""
        if following == AGGREGATION:
            self._left.pop(0)
            return _Bracket(word, tuple(self._list()))
        return _Bracket(word if following == "(" and word not in OPERATORS | MATCHING | {AGGREGATION} else "")

    def _is_operator(self, word: str) -> bool:
        if word == AGGREGATION:
            raise ValueError("`by` behind the brackets")
        if word in MATCHING:
            self.matched |= frozenset(self._list())
        return word in MATCHING | OPERATORS or word.lower() in NUMBERS

    def _list(self) -> Iterator[str]:
        while (token := self._left.pop(0)).text != ")":
            if token.kind == "name":
                yield token.text

    def _selection(self, metric: str) -> Selection:
        matchers = {}
        if self._left and self._left[0].text == "{":
            self._left.pop(0)
            while (label := self._left.pop(0)).text != "}":
                if label.text != ",":
                    sign, value = self._left.pop(0), self._left.pop(0)
                    matchers[label.text] = sign.text + value.text[1:-1]
        span = self._left.pop(0).text[1:-1] if self._left and self._left[0].kind == "span" else ""
        around = tuple(bracket.function for bracket in self._around if bracket.function)
        return Selection(metric, matchers, span, around, frozenset(it for bracket in self._around for it in bracket.by))
