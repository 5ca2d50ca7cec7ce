"""The sessions of the transcripts on the machine alone, each in two paces: pieces as the script has them, and single
octets.

All but those in TLS, which the machine does not see.
"""

from pathlib import Path

import pytest

from tests.transcripts.performance import Differs
from tests.transcripts.pure import play
from tests.transcripts.script import Script, read

_SCRIPTS = [
    pytest.param(script, pace, id=f"{path.stem}: {script.title} ({pace})")
    for path in sorted(Path(__file__).parent.glob("*.txt"))
    for script in read(path)
    for pace in script.paces
    if not script.tls
]


@pytest.mark.parametrize(("script", "pace"), _SCRIPTS)
def test_transcript(tmp_path: Path, script: Script, pace: str) -> None:
    """The machine says and does what the script says."""
    play(tmp_path, script, pace)


DIFFERENCES = {
    "another reply": (["S: +OK ready", "C: QUIT", "S: +OK farewell", "E: quit"], r"(?m)^-S: \+OK farewell\n"),
    "a reply too many": (["S: +OK ready", "C: QUIT", "E: quit"], r"(?m)^\+S: \+OK bye$"),
    "an empty line too many": (
        [
            *("rc: backend conf b1 prot XPOP", "S: +OK ready", "C: USER ann", "C: PASS secret", "S: +OK send PASS"),
            *("B< ann", "B< $SID", "C! close", "B! closed", "E: client_closed"),
        ],
        r"(?m)^\+B<$",
    ),
    "another ending": (["S: +OK ready", "C: QUIT", "S: +OK bye", "E: client_closed"], r"(?m)^\+E: quit$"),
    "a session that goes on": (["S: +OK ready", "S! closed", "E: quit"], r"(?m)^\+E: auth_timeout$"),
    "a connection to the backend": (
        ["S: +OK ready", "C: USER ann", "C: PASS secret", "S: +OK send PASS", "C! close", "E: auth_timeout"],
        "# a connection to the backend",
    ),
    "another field": (["S: +OK ready", "C! close", "E: client_closed user='ann'"], "has no user='ann'"),
}


@pytest.mark.parametrize(("lines", "shown"), DIFFERENCES.values(), ids=list(DIFFERENCES))
def test_a_difference_is_shown(tmp_path: Path, lines: list[str], shown: str) -> None:
    """What is not the script's is found without a process, too."""
    path = tmp_path / "a.txt"
    path.write_text("\n".join(("= A script", *lines)))
    with pytest.raises(Differs, match=shown):
        play(tmp_path, read(path)[0], "whole")
