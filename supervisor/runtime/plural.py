"""Numbers of things, as people say them: "1 session", "2 sessions"."""


def count_of(number: int, one: str, many: str = "") -> str:
    """The number and `noun`."""
    return f"{number} {noun(number, one, many)}"


def noun(number: int, one: str, many: str = "") -> str:
    """`one` is what is said of a single thing; `many`, of none or more, is `one` and an s if it is not given."""
    return one if number == 1 else many or f"{one}s"
