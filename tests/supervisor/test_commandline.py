"""What the command lines of all programs have in common."""

import argparse
from dataclasses import replace

import pytest

from deploy.completions.__main__ import parsers
from popular.proxy.program import PROGRAM
from supervisor.main import main
from supervisor.program import StartOption

MAY_BE_EMPTY = {("pcontrol", "--message"), ("pstatus", "--filter")}
"""A reason that nobody gives; what every session has."""


def _options() -> list[tuple[str, str]]:
    """Each program, and each of its options that takes something."""
    return [
        (name, action.option_strings[-1])
        for name, parser in parsers().items()
        for action in parser._actions
        if action.option_strings and action.nargs not in (0, argparse.REMAINDER)
    ]


@pytest.mark.parametrize(("name", "option"), _options())
def test_an_option_takes_no_empty_text(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`pproxy -u "$USER"` where USER is not set is refused, and does not run as root without a word."""
    parser = parsers()[name]
    if (name, option) in MAY_BE_EMPTY:
        parser.parse_args([option, ""])
        return
    with pytest.raises(SystemExit):
        parser.parse_args([option, ""])
    assert option in capsys.readouterr().err.partition(": argument ")[2].partition(":")[0]


@pytest.mark.parametrize(("name", "words"), [("pclean", [""]), ("pdeliver", [""]), ("pcdb", ["", "users"])])
def test_an_argument_is_not_empty(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`pclean "$MAILBOX"` where MAILBOX is not set does not clean them all."""
    with pytest.raises(SystemExit):
        parsers()[name].parse_args(words)
    assert "it is empty" in capsys.readouterr().err


def test_a_value_in_a_command_may_be_empty() -> None:
    """`pcontrol set fallback ""` is a command like others, and so are the arguments of a module."""
    assert parsers()["pcontrol"].parse_args(["set", "fallback", ""]).words == ["set", "fallback", ""]
    assert parsers()["ptestpdm"].parse_args(["--conformance", "any", ""]).conformance == ["any", ""]


def test_too_little_memory_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """And no traceback, wherever in the start it is found out."""

    def take(_text: str) -> None:
        raise MemoryError

    program = replace(PROGRAM, start_options=(StartOption("room", "N", "How much.", take=take),))
    assert main(program, ["--cores", "--room", "1"]) == 1
    assert capsys.readouterr().err == "pproxy: there is too little memory to start; `ulimit -v` may bound it\n"
