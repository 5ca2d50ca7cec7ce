"""The debug lines of a POP3 dialogue, in `pproxy` and `pserv` (debug options POP and PASS)."""

from supervisor.log import Log


def debug_dialogue(log: Log, sid: str, who: str, data: bytes) -> None:
    """One entry a line. A password shows only with the option PASS."""
    for line in data.split(b"\r\n"):
        if line[:5].upper() == b"PASS " and "PASS" not in log.options:
            line = b"PASS ****"
        if line:
            log.debug("POP", who, sid, line=line.decode("utf-8", "replace"))
