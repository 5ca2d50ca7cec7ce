"""Which sessions are shown, in which order, and how much of a name: for `pstatus` and the status page alike.

Pure: rows as `View.sessions` gives them go in and come out. A filter and an order only ever see what will be shown, so
that nobody can ask a masked name letter by letter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from metrics.headline import QUIET
from supervisor.table.contents import BASE_COLUMNS
from supervisor.table.layout import Layout

Session = dict[str, Any]

MASKED = "*"
"""Stands for what a mask has taken away."""

_OCTETS_SHOWN = 3
_GROUPS_SHOWN = 3


class UnknownColumn(ValueError):
    """The table has no such column; the text says which there are."""


class Filter(NamedTuple):
    """A text that must occur, in one column or (column "") in any that holds texts.

    Upper and lower case are the same.
    """

    column: str
    text: str

    @classmethod
    def of(cls, words: str) -> "Filter":
        """From `COLUMN=TEXT`, or `TEXT` for any column."""
        column, equals, text = words.partition("=")
        return cls(column.strip(), text.strip().casefold()) if equals else cls("", words.strip().casefold())

    def passes(self, session: Session) -> bool:
        """Whether the session is one of those that are meant."""
        if self.column:
            return self.text in str(session[self.column]).casefold()
        return any(self.text in value.casefold() for value in session.values() if isinstance(value, str))


class SortOrder(NamedTuple):
    """By which column sessions stand, and whether the largest comes first."""

    column: str = "row"
    reverse: bool = False


def columns(layout: Layout) -> list[str]:
    """The columns in the order in which they are listed.

    The state is a phrase with blanks in it: it stands last, where it shifts nothing.
    """
    base = [column.name for column in BASE_COLUMNS]
    return ["row", "pid", "started", "since", *(c.name for c in layout.columns if c.name not in base), "state"]


def numeric_columns(layout: Layout) -> set[str]:
    """Those that hold numbers."""
    return {"row", *(column.name for column in layout.columns if not column.form.endswith("s"))} - {"state"}


def check_columns(names: Iterable[str], layout: Layout) -> None:
    """Raises UnknownColumn for a name that is none; "" stands for any column."""
    known = columns(layout)
    for name in names:
        if name and name not in known:
            raise UnknownColumn(f'there is no column "{name}"; there are: {" ".join(known)}')


def select(sessions: Sequence[Session], filters: Sequence[Filter], order: SortOrder) -> list[Session]:
    """Those that pass every filter, in order; equals stay in the order of their rows."""
    passing = [session for session in sessions if all(one.passes(session) for one in filters)]
    return sorted(passing, key=lambda session: _rank(session[order.column]), reverse=order.reverse)


def _rank(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def tone(state: str, layout: Layout) -> str:
    """How a state of a session is coloured."""
    return layout.tones.get(state, QUIET)


# --- masks ------------------------------------------------------------------------------------------------------------


Masks = Mapping[str, Callable[[Any], Any]]


def masks(layout: Layout) -> Masks:
    """Which columns tell about a person, and what is left of them."""
    return {column.name: _MASKS[column.mask] for column in layout.columns if column.mask}


def masked(session: Session, masks: Masks) -> Session:
    """A session without what tells who it is: names keep their first letter, addresses their network."""
    return session | {name: mask(session[name]) for name, mask in masks.items()}


def mask_name(name: str) -> str:
    """`joe.bloggs` becomes `j*`."""
    return name[:1] + MASKED if name else ""


def mask_address(address: str) -> str:
    """`192.0.2.17` becomes `192.0.2.*`, and `2001:db8:1:2::3` becomes `2001:db8:1:*`."""
    if ":" in address:
        return ":".join([*address.split("::")[0].split(":")[:_GROUPS_SHOWN], MASKED])
    return ".".join([*address.split(".")[:_OCTETS_SHOWN], MASKED]) if address else ""


def mask_number(_number: int) -> int:
    """Nothing is left of it: with an address it would tell one client behind a router from another."""
    return 0


_MASKS: Masks = {"name": mask_name, "address": mask_address, "number": mask_number}
"""By what `Column.mask` says."""
