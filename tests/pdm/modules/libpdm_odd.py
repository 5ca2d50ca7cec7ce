"""A module for tests, which does what a file says at the moment: `odd FILE BACKEND async|blocking|keyed`.

It knows the users whose names begin with its id, with the password `right`; the file says one of `ANSWERS`, by which it
answers all questions, or how it misbehaves. It counts in FILE.asked how often it was asked.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from popular.pdm.contract import (
    PASSWORD,
    SCRAM,
    UNKNOWN,
    AsyncModule,
    Authenticated,
    CannotTell,
    KnownUser,
    Module,
    ModuleFailed,
    QuestionFailed,
    Refused,
    Route,
)

ANSWERS = ("fine", "locked", "hidden", "elsewhere", "cannot", "down", "error", "wrong", "exit", "hang", "slow")
WHY = "it is not his word"
BRIEFLY = 0.1
FOREVER = 3600


class _Odd:
    """What both kinds have in common."""

    arguments: Sequence[str]

    def __init__(self, ident, arguments):
        if len(arguments) != 3:
            raise ModuleFailed("odd: FILE BACKEND async|blocking|keyed is wanted")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._file, self._backend, _kind = arguments

    def asked(self):
        with open(f"{self._file}.asked", "a") as file:
            file.write(".")
        return self.said()

    def said(self):
        with open(self._file) as file:
            return file.read().strip()

    def answer(self, question, how):
        if how == "error":
            raise KeyError(question.password.reveal())
        if how == "down":
            raise ModuleFailed("the database is down")
        if how == "cannot":
            return CannotTell("his entry is faulty")
        if how == "wrong":
            return "yes"
        if how == "exit":
            sys.exit(3)
        if not question.user.startswith(self.ident):
            return UNKNOWN
        route = Route(how.removeprefix("elsewhere ") if how.startswith("elsewhere ") else self._backend)
        if not question.password.equals(b"right") or how == "locked":
            return Refused(None if how == "hidden" else route, locked=how == "locked", reason=WHY)
        return Authenticated(route)

    def known(self, user, how):
        """What a lookup says: what `answer` would say to the right password."""
        if how == "error":
            raise KeyError(user)
        if how == "down":
            raise ModuleFailed("the database is down")
        if how == "cannot":
            raise QuestionFailed("his entry is faulty")
        if how == "wrong":
            return "yes"
        if not user.startswith(self.ident):
            return None
        backend = how.removeprefix("elsewhere ") if how.startswith("elsewhere ") else self._backend
        return KnownUser(Route(backend), locked=how == "locked")

    def reload(self):
        return open_module(self.ident, self.arguments)


class BlockingOdd(_Odd, Module):
    def check(self, question):
        how = self.asked()
        if how in ("hang", "slow"):
            for _ in range(FOREVER * 10 if how == "hang" else 1):
                time.sleep(BRIEFLY)
                if self.said() != how:
                    break
        return self.answer(question, how)

    def lookup(self, _namespace, user):
        return self.known(user, self.asked())


class AsyncOdd(_Odd, AsyncModule):
    async def check(self, question):
        how = self.asked()
        if how == "cancelled":
            raise asyncio.CancelledError
        while how == "stubborn":
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                how = self.asked()
        if how in ("hang", "slow"):
            await asyncio.sleep(FOREVER if how == "hang" else BRIEFLY)
        return self.answer(question, how)

    async def lookup(self, _namespace, user):
        how = self.asked()
        if how == "hang":
            await asyncio.sleep(FOREVER)
        return self.known(user, how)


class KeyedOdd(AsyncOdd):
    """Is asked for keys of SCRAM, too, and has none."""

    takes = frozenset({PASSWORD, SCRAM})


KINDS = {"async": AsyncOdd, "keyed": KeyedOdd}


def open_module(ident, arguments):
    return KINDS.get(arguments[-1] if arguments else "", BlockingOdd)(ident, arguments)
