"""Manual pages from the tables."""

import argparse
import re
import shutil
import subprocess

import pytest

from popular.programs import PROGRAMS
from popular.proxy.settings.commands import COMMANDS
from popular.proxy.settings.variables import VARIABLES
from supervisor.control.commands import manual
from supervisor.pcontrol.options import options_parser
from tests.patience import patient


def whole_page() -> str:
    """A page with everything on it."""
    parser = options_parser(PROGRAMS)
    return manual.page(
        "pproxy",
        8,
        "a POP3 proxy",
        version="2.0",
        sections=[
            ("SYNOPSIS", manual.synopsis(parser)),
            ("OPTIONS", manual.options(parser)),
            ("VARIABLES", manual.variables(VARIABLES, {"sessionlimit": 10_000})),
            ("COMMANDS", manual.commands(COMMANDS)),
        ],
    )


def test_everything_is_on_the_page() -> None:
    """Each option, variable and command has its paragraph."""
    text = whole_page().replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")

    for row in VARIABLES:
        assert f"\\fB{row.name}\\fR" in text
    for command in COMMANDS:
        assert f"\\fB{command.usage}\\fR" in text
        assert command.summary in text
    for option in ("--command", "--ignore-errors", "--timeout"):
        assert f"\\fB{option}\\fR" in text


def test_hidden_options_stay_hidden() -> None:
    """An option without help for people is not in the manual; defaults are filled in."""
    parser = argparse.ArgumentParser(prog="x")
    parser.add_argument("--seen", metavar="N", default=5, help="a number (default: %(default)s)")
    parser.add_argument("--unseen", help=argparse.SUPPRESS)
    text = manual.options(parser)

    assert "A number (default: 5)." in text
    assert "unseen" not in text


def test_text_cannot_become_a_request() -> None:
    """A backslash, and a dot or quote at the beginning of a line, are text."""
    assert manual.escape(".so /etc/passwd\n'x \\fB a-b") == "\\&.so /etc/passwd\n\\&'x \\efB a\\-b"
    requests = re.findall(r"^[.'](\S+)", whole_page(), flags=re.MULTILINE)
    assert set(requests) <= {"TH", "SH", "TP", "B", "br"}


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_complain_about() -> None:
    """The page is formatted without a warning."""
    command = ["groff", "-man", "-Tutf8", "-ww", "-Kutf8"]
    done = subprocess.run(command, input=whole_page(), capture_output=True, text=True, timeout=patient(30), check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "authtimeout" in re.sub(".\b", "", done.stdout)
