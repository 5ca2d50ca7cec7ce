"""CA certificates that nobody can come from: they are taken, with a note."""

import time
from pathlib import Path

from popular import messages
from popular.tls.authorities import Authorities, troubles_of
from supervisor.control.outcome import Change
from tests.proxy.console import Console
from tests.system.certificates import Authority

DAY = 86_400
AUTHORITY = Authority("People")
LEAF = AUTHORITY.issue("joe", client=True)
NOW = time.time()


def test_what_is_wrong_with_them() -> None:
    """One that is not valid, yet or any more, and one that is no authority's."""
    good, leaf = (Authorities("/ca.pem", pem.decode()) for pem in (AUTHORITY.pem, LEAF.chain))
    both = Authorities("/ca.pem", f"{good.pem}{leaf.pem}")
    assert list(troubles_of(good, NOW)) == []
    for days, why in ((-3, "not valid before"), (40, "expired on")):
        (text,) = troubles_of(good, NOW + days * DAY)
        assert text.startswith(f'the CA certificate of "People": {why} 2')
    for read in (leaf, both):
        (text,) = troubles_of(read, NOW)
        assert text.startswith("1 certificate in it without CA:TRUE")


def test_they_are_told_once(tmp_path: Path) -> None:
    """The command that brings them has a note and a line in the log, be it a whole configuration; others have none."""
    path = tmp_path / "leaf.pem"
    path.write_bytes(LEAF.chain)
    console = Console()
    wanted = f"vserv conf v port 995 prot POP3s clientcert require clientca {path}"

    def told(*commands: str) -> tuple[int, list[str]]:
        """How many notes the last one has, and which files are in the log for it."""
        outcome = [console.say(command) for command in commands][-1]
        assert isinstance(outcome, Change)
        files = [fields["file"] for message, fields in outcome.entries if message is messages.CERTIFICATE_FAULT]
        return outcome.text.count(f"note: {path}: 1 certificate in it without CA:TRUE"), files

    assert told(wanted) == (1, [str(path)])
    assert told("vserv conf v port 996") == (0, [])
    assert told("vserv del v", "draft begin", f"draft say {wanted}", "draft apply") == (1, [str(path)])
