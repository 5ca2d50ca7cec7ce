"""What one backend announces, as one worker uses it: whether USER and PASS may leave in one piece, and when it is time
to ask again.

All workers share what is known, in a record of the table (settings/announced.py). A login costs one comparison of the
loop's clock; the record itself is looked at once a second.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from popular.protocol.international import NOTHING, International, international
from popular.proxy.session.backend.contracts import NO_MECHANISMS, BackendKnowledge
from popular.proxy.settings.announced import (
    LONGEST,
    LONGEST_LANGUAGES,
    PIPELINING,
    checksum_of,
    lines_of,
    mechanisms_in,
    tags,
)
from popular.proxy.settings.backend import POP3, XOAUTH2, Backend
from popular.proxy.settings.kinds import AUTO
from supervisor.system import Clock
from supervisor.table.records import Records

ASK_SECONDS = 60.0
"""A backend is asked so often at most, by all workers together, and only after a login."""
MISTRUST_SECONDS = 600.0
"""For so long one that did not take what it had announced gets one command at a time."""
_LOOK_SECONDS = 1.0
_NEVER = float("inf")

_UNHEARD: Final = {"asked": 0.0, "heard": 0.0, "mistrusted": 0.0, "capabilities": "", "languages": ""}

Ask = Callable[["Announced"], None]


def _fitting(lines: Sequence[str], room: int) -> str:
    kept = []
    for line in lines:
        octets = len(line.encode()) + 1
        if octets <= room:
            kept.append(line)
            room -= octets
    return "\n".join(kept)


class Announced(BackendKnowledge):
    """What is known of one backend under one config."""

    __slots__ = (
        "_ask",
        "_ask_at",
        "_auto",
        "_clock",
        "_index",
        "_international",
        "_look_at",
        "_mechanisms",
        "_of",
        "_pipelines",
        "_records",
        "_said",
        "_wall",
        "backend",
    )

    def __init__(
        self,
        backend: Backend,
        index: int | None,
        records: Records,
        *,
        clock: Clock,
        ask: Ask,
        wanted: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`index`: of its record; None if there was none left. `ask` has it asked, and is to call `heard`; `wanted`:
        somebody wants to know, whatever its own parameters say; `wall` tells seconds since 1970.
        """
        self.backend = backend
        self._index = 0 if index is None else index
        self._records = records
        self._clock = clock
        self._ask = ask
        self._wall = wall
        self._of = checksum_of(backend)
        learns = backend.prot == POP3 and index is not None
        self._auto = learns and backend.pipelining == AUTO
        learns = learns and (self._auto or wanted or backend.login == XOAUTH2)
        self._mechanisms = NO_MECHANISMS
        self._international = NOTHING
        self._said = "", ""
        """What `_international` was made of."""
        self._pipelines = backend.pipelining == "on"
        self._look_at = self._ask_at = 0.0 if learns else _NEVER

    def pipelines(self) -> bool:
        """Whether PASS may be said ahead of the reply to USER."""
        if self._clock.now >= self._look_at:
            self._look()
        return self._pipelines

    def mechanisms(self) -> frozenset[str]:
        """The SASL mechanisms that it announces; none if it was not asked yet."""
        if self._clock.now >= self._look_at:
            self._look()
        return self._mechanisms

    def international(self) -> International:
        """What it announces of UTF8 and LANG; nothing if it was not asked yet."""
        if self._clock.now >= self._look_at:
            self._look()
        return self._international

    def capabilities(self) -> list[str] | None:
        """The lines of its answer to CAPA; None if it was not asked yet. Looks at the record each time."""
        known = self._known()
        return lines_of(known["capabilities"]) if known["heard"] else None

    def note_login(self) -> None:
        """The backend let a user in: if it was not asked lately, it is asked now."""
        if self._clock.now >= self._ask_at:
            self._ask_if_due()

    def heard(self, capabilities: Sequence[str], languages: Sequence[str] = ()) -> None:
        """It has answered. Lines that do not fit are left out as a whole."""
        self._write(
            heard=self._wall(),
            capabilities=_fitting(capabilities, LONGEST),
            languages=_fitting(languages, LONGEST_LANGUAGES),
        )

    def checked(self, capabilities: Sequence[str]) -> None:
        """A check has asked it, but not for its languages."""
        self._write(heard=self._wall(), capabilities=_fitting(capabilities, LONGEST))

    def mistrust(self) -> bool:
        """It did not take USER and PASS in one piece: they are sent one by one for a while. Whether that is news."""
        if not self._auto:
            return False
        was = self._known()["mistrusted"]
        now = self._wall()
        self._write(mistrusted=now + MISTRUST_SECONDS)
        return not now < was <= now + MISTRUST_SECONDS

    def _look(self) -> None:
        known, now = self._known(), self._wall()
        self._look_at = self._clock.now + _LOOK_SECONDS
        doubted = now < known["mistrusted"] <= now + MISTRUST_SECONDS
        capabilities = str(known["capabilities"])
        said = capabilities, str(known["languages"])
        if said != self._said:
            self._said = said
            self._international = international(lines_of(capabilities), lines_of(said[1]))
        if self.backend.login == XOAUTH2:
            self._mechanisms = mechanisms_in(capabilities)
        if self._auto:
            self._pipelines = not doubted and PIPELINING in tags(capabilities)

    def _known(self) -> dict[str, Any]:
        record = self._records.read(self._index)
        if record is None or record["of"] != self._of:
            return {"of": self._of, **_UNHEARD}
        return record

    def _write(self, **facts: object) -> None:
        self._records.write(self._index, self._known() | facts)
        self._look()

    def _ask_if_due(self) -> None:
        """Whoever finds it due says so in the record first, so that no other worker asks as well."""
        age = self._wall() - self._known()["asked"]
        if 0 <= age < ASK_SECONDS:
            self._ask_at = self._clock.now + ASK_SECONDS - age
            return
        self._ask_at = self._clock.now + ASK_SECONDS
        self._write(asked=self._wall())
        self._ask(self)
