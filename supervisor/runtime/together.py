"""Several faults as one text, where there is room for one: in an answer of the control language, and between processes.

Who found them says `together`, who shows them to people, each on a line, says `apart`.
"""

from collections.abc import Iterable

_ALSO = "; also: "
_MOST = 20


def together(faults: Iterable[str]) -> str:
    """Faults of which none follows from another."""
    each = list(dict.fromkeys(faults))
    more = len(each) - _MOST
    return _ALSO.join([*each[:_MOST], f"{more} more"] if more > 1 else each)


def apart(text: str) -> list[str]:
    """The faults that such a text tells."""
    return text.split(_ALSO)
