"""Dialogues that nobody would hold, made of those that somebody does. Pure: the same dice make the same dialogue."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from tests.transcripts.performance import filled
from tests.transcripts.script import Script, octets

ODD = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\r\n", b"\n\r", b"\xff", b"\x80", b"\xc3\xa9", b"\xed\xa0\x80", b" ", b"\t"),
    *(b".", b"..", b"\r\n.\r\n", b".\r\n", b"+OK", b"-ERR", b"+", b"-", b"*", b"%", b"%n", b"%s%s%s%n", b"'", b"\\"),
    *(b"0", b"-1", b"4294967296", b"18446744073709551616", b"9" * 400, b"1e308", b"nan"),
    *(b"A" * 254, b"A" * 255, b"A" * 256, b"A" * 257, b"A" * 511, b"A" * 513, b"A" * 1025, b"A" * 4097, b"A" * 70_000),
    *(b"USER ann\r\n", b"PASS secret\r\n", b"QUIT\r\n", b"STLS\r\n", b"CAPA\r\n", b"RETR 1\r\n", b"TOP 1 0\r\n"),
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x15\x03\x03\x00\x02\x02\x28", b"\x80\x2e\x01\x03\x01"),
    *(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"),
)
"""Octets on which programs have stumbled."""
ENDS = ("close", "half-close", "reset")
MOST_STEPS = 40


class Move(NamedTuple):
    """What one side does, `who` is client (C), backend (B) or mail check (U): sends octets, or comes to one of ENDS."""

    who: str
    data: bytes
    end: str = ""


def recorded(script: Script, words: dict[str, str]) -> list[Move]:
    """What client, backend and mail check do in a script, in its order."""
    moves: list[Move] = []
    for step in script.steps:
        who, data = step.sign[0], filled(step.text, words)
        match step.sign:
            case "C:" | "B>":
                moves.append(Move(who, octets(data) + b"\r\n"))
            case "C=" | "B=":
                moves.append(Move(who, octets(data)))
            case "U>":
                moves.append(Move(who, octets(data) + b"\n"))
            case "C!" | "B!" if data in ENDS:
                moves.append(Move(who, b"", data))
    return moves


def mutated(dialogue: Sequence[Move], others: Sequence[Sequence[Move]], dice: random.Random) -> list[Move]:
    """The dialogue with some changes; `others` lend steps."""
    moves = list(dialogue)
    for _ in range(dice.choice((0, 1, 1, 2, 3, 5, 8))):
        place = dice.randrange(len(moves) + 1)
        match dice.randrange(10):
            case 0 if moves:
                del moves[min(place, len(moves) - 1)]
            case 1 if moves:
                moves.insert(place, dice.choice(moves))
            case 2:
                moves[place:place] = _slice(dice.choice(others), dice)
            case 3:
                moves.insert(place, Move(dice.choice("CB"), b"", dice.choice(ENDS)))
            case 4:
                dice.shuffle(moves)
            case 5:
                moves.insert(place, Move(dice.choice("CBU"), dice.choice(ODD)))
            case _ if moves:
                place = min(place, len(moves) - 1)
                moves[place] = moves[place]._replace(data=changed(moves[place].data, dice))
    return moves[:MOST_STEPS]


def _slice(moves: Sequence[Move], dice: random.Random) -> Sequence[Move]:
    begin = dice.randrange(len(moves) + 1)
    return moves[begin : begin + dice.randint(1, 4)]


def changed(data: bytes, dice: random.Random) -> bytes:
    """Some octets of it are others, more, or fewer."""
    begin = dice.randrange(len(data) + 1)
    end = min(len(data), begin + dice.choice((0, 1, 1, 2, 8, 64)))
    match dice.randrange(5):
        case 0:
            middle = b""
        case 1:
            middle = bytes(octet ^ 1 << dice.randrange(8) for octet in data[begin:end])
        case 2:
            middle = data[begin:end] * dice.choice((2, 3, 50, 300))
        case 3:
            middle = dice.randbytes(dice.choice((1, 2, 16, 600)))
        case _:
            middle = dice.choice(ODD)
    return data[:begin] + middle + data[end:]


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """How it is cut into packets: whole mostly, sometimes in single octets or anywhere."""
    match dice.randrange(6):
        case 0 if len(data) < 100:
            return [data[place : place + 1] for place in range(len(data))]
        case 1 if data:
            cut = dice.randrange(len(data))
            return [data[:cut], data[cut:]]
    return [data]
