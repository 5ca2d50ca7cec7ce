"""The debug lines of a dialogue (`debug POP`): what they show of an exchange of SASL."""

from pathlib import Path

import pytest

from popular.dialogue import Dialogue
from supervisor.runtime.log import Log
from tests.proxy.test_session_scram import KNOWN, asked, challenge, coded


@pytest.mark.parametrize("options", ["POP", "POP PASS"])
def test_of_challenges_they_show_the_length(tmp_path: Path, options: str) -> None:
    """By what SCRAM's say, a password could be tried without asking us: nonces, salt, and our own proof."""
    log = Log("probe", str(tmp_path / "log"), at_once=True)
    log.options = frozenset(options.split())
    dialogue = Dialogue(log)
    session, client = asked()
    session.says(coded(client.final(challenge(session.decided(KNOWN)))) + b"\r\n")
    sent = session.verbs.to_client
    dialogue.is_told("p.1.2", sent + b"+ \r\n-ERR cancelled\r\n")
    shown = (tmp_path / "log").read_text()
    lines = [line for line in sent.split(b"\r\n") if line.startswith(b"+ ")]
    assert len(lines) == 2
    for line in lines:
        assert f"+ ({len(line) - 2} octets)" in shown
        assert line[2:14].decode() not in shown
    assert "+OK ready" in shown
    assert "-ERR cancelled" in shown
