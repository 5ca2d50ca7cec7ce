"""What may stand once in a command, and is there twice."""

import pytest

from supervisor.control.words import CommandRefused
from tests.proxy.console import Console


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("backend drain b deadline 1s deadline 2s", 'column 29: "deadline" is given twice'),
        ("kick backend b deadline 1s deadline 2s", 'column 28: "deadline" is given twice'),
        ("trace start user joe FOR 1h for 2h", 'column 29: "for" is given twice'),
        ("explain joe on v on v", 'column 18: "on" is given twice'),
        ("shutdown delayed grace 1s deadline 2s GRACE 3s", 'column 39: "GRACE" is given twice'),
        ("sign as ann as bob", 'column 13: "as" is given twice'),
        ("vserv conf v port 1 port 2", 'column 21: "port" is given twice'),
    ],
)
def test_what_is_said_twice_is_named(line: str, reason: str) -> None:
    """The second one, with its column, whatever the command and in whichever letters."""
    console = Console()
    console.say("backend conf b state fake")
    with pytest.raises(CommandRefused) as told:
        console.say(line)
    assert str(told.value) == reason
    assert told.value.of_form


def test_a_filter_may_be_said_again() -> None:
    """Each adds sessions."""
    rows = Console().say("sessions backend b1 backend b2").data
    assert {row["backend"] for row in rows} == {"b1", "b2"}
