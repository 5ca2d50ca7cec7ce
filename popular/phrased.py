"""States with a phrase: the number stands in a row of the table, the phrase completes "… while ___" for people."""

import enum
from typing import Self


class Phrased(enum.IntEnum):
    """The base of a program's phases; a member is written `NAME = number, "phrase"`."""

    phrase: str

    def __new__(cls, number: int, phrase: str) -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.phrase = phrase
        return member
