"""The debug lines of a POP3 dialogue, in `pproxy` and `pserv` (debug options POP, and PASS, which alone shows passwords
and nothing else).

What is logged is parsed commands, never octets as they came: a password that came in pieces, after a bare LF, with a
blank in front of PASS, or as the argument of a command that nobody knows is not recognised by its looks. So a line is
judged when it is whole; a command that is known shows what it may hold, everything else shows its length.
After AUTH, up to our verdict, every line does: it answers a challenge, and may look like a command. So do challenges:
with what SCRAM's say, and the user's name, a password can be guessed in peace, without asking anybody.
"""

from popular.protocol.commands import VERBS, parse
from popular.protocol.lines import LONGEST_COMMAND
from popular.protocol.sasl import LONGEST_RESPONSE, MECHANISMS
from supervisor.runtime.log import Log
from supervisor.runtime.plural import count_of

DIALOGUE_OPTIONS = frozenset({"POP", "PASS"})


class Dialogue:
    """What one client says and is told, in the log. Made for a session when the option POP is on."""

    __slots__ = ("_answers", "_held", "_log", "_seen", "_sure")

    def __init__(self, log: Log) -> None:
        self._log = log
        self._answers = False
        """What comes is no command, but answers a challenge of ours, or may do so."""
        self._held = b""
        self._seen = 0
        self._sure = True

    def says(self, sid: str, data: bytes, received: int) -> None:
        """Octets from the client, `received` with these: an entry for each line they end, one for what is none yet.

        Where some were not seen, because the option was off, these may be the rest of a line with a password.
        """
        if self._seen != received - len(data):
            self._held, self._sure = b"", False
        self._seen = received
        *ended, rest = (self._held + data).split(b"\n")
        for line in ended:
            self._show(sid, line.removesuffix(b"\r"))
        # Nothing is longer: of such a line only the length counts, and memory is not the client's to fill.
        self._held = rest[: LONGEST_RESPONSE if self._answers else LONGEST_COMMAND]
        if rest:
            self._log.debug("POP", "client", sid, part=len(rest))

    def is_told(self, sid: str, data: bytes) -> None:
        """Replies to the client: an entry a line; of a challenge its length."""
        for line in data.split(b"\r\n"):
            if line:
                is_challenge = line.startswith(b"+ ")
                self._answers = is_challenge or (self._answers and not line.startswith((b"+OK", b"-ERR")))
                shown = line.decode("utf-8", "replace")
                if is_challenge and len(line) > len(b"+ "):
                    shown = f"+ ({count_of(len(line) - len(b'+ '), 'octet')})"
                self._log.debug("POP", "server", sid, line=shown)

    def _show(self, sid: str, line: bytes) -> None:
        options = self._log.options
        if self._answers:
            if "POP" in options:
                self._log.debug("POP", "client", sid, octets=len(line))
            self._sure = True
            return
        self._answers = self._sure and parse(line).keyword == "AUTH"
        if self._answers and "POP" in options:
            self._log.debug("POP", "client", sid, line=without_secrets(line))
        elif "POP" not in options:
            if self._sure and parse(line).keyword == "PASS":
                self._log.debug("PASS", "client", sid, line=line.decode("utf-8", "replace"))
        elif self._sure and "PASS" in options:
            self._log.debug("POP", "client", sid, line=line.decode("utf-8", "replace"))
        elif self._sure and (shown := without_secrets(line)):
            self._log.debug("POP", "client", sid, line=shown)
        elif line:
            self._log.debug("POP", "client", sid, octets=len(line))
        self._sure = True


def without_secrets(line: bytes) -> str:
    """A command line (without its end) as it may be shown; empty if it is no command that is known."""
    command = parse(line)
    verb = VERBS.get(command.keyword)
    if verb is None:
        return ""
    words = command.words
    if not words:
        return verb.keyword
    if verb.keyword == "PASS":
        return "PASS ****"
    if verb.keyword == "AUTH" and words[0].decode("ascii", "replace").upper() in MECHANISMS:
        known = f"AUTH {words[0].decode().upper()}"
        if words[1:]:
            known += f" ({count_of(len(words[1]), 'octet')})"
        return known
    if len(words) > verb.most or not (verb.keyword == "USER" or all(word.isdigit() for word in words)):
        return f"{verb.keyword} ({count_of(len(command.argument), 'octet')})"
    return f"{verb.keyword} {b' '.join(words).decode('utf-8', 'replace')}"
