"""What is opened and not used is closed: once, on the event loop, and nobody waits for it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from popular.pdm import guarded
from popular.pdm.contract import AsyncModule
from popular.proxy.open_modules import OpenModule, open_modules
from popular.proxy.settings.modules import ModuleSpec
from popular.proxy.settings.moduleterms import ModuleTerms
from supervisor.config import Config
from supervisor.control.words import CommandRefused
from tests.patience import patient

LISTS = """
import asyncio
from pathlib import Path
from popular.pdm.contract import UNKNOWN, AsyncModule

class Lists(AsyncModule):
    def __init__(self, ident, arguments):
        self.ident, self.arguments, self.file = ident, arguments, Path(arguments[0])
        self.users = self.file.read_text()
        self.knows_nobody = not self.users
        if self.users == "broken":
            self.takes = "password"

    async def check(self, question):
        return UNKNOWN

    def reload(self):
        return Lists(self.ident, self.arguments)

    async def close(self):
        await asyncio.sleep(0)
        with open(f"{self.file}.closed", "a") as closed:
            closed.write(f"{self.users or 'nobody'} ")

open_module = Lists
"""


class Site:
    """A module whose users stand in a file; what was closed, in another."""

    def __init__(self, directory: Path) -> None:
        (directory / "libpdm_lists.py").write_text(LISTS)
        self._users, self._closed = directory / "users", directory / "users.closed"
        self.spec = ModuleSpec("m", "lists", (str(self._users),), str(directory), ModuleTerms.make("m"))
        self.context: Any = SimpleNamespace(loop=asyncio.get_running_loop())

    async def open(
        self, users: str, *, before: Sequence[OpenModule] = (), reloads: int = 0, reports: Any = ()
    ) -> list[OpenModule]:
        """As a worker does, in a thread."""
        self._users.write_text(users)
        spec = replace(self.spec, reloads=reloads)
        config = Config(0, {}, things={"pdm": {"m": spec}}, reports=tuple(reports))
        return await asyncio.to_thread(open_modules, self.context, config, before, tolerant=False)

    async def closed(self) -> list[str]:
        """Which lists were closed, when what there is to close is."""
        await asyncio.sleep(0)  # what was said from this thread begins with the next turn
        async with asyncio.timeout(patient(5)):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.01)
        return self._closed.read_text().split() if self._closed.exists() else []


@pytest.mark.parametrize(("users", "closed"), [("", "nobody"), ("broken", "broken")])
def test_a_successor_that_is_refused_is_closed(tmp_path: Path, users: str, closed: str) -> None:
    """Its list is empty all at once, or it breaks the contract; the one in use stays, until it is let go of."""

    async def reloaded() -> None:
        site = Site(tmp_path)
        (held,) = await site.open("ann")
        with pytest.raises(CommandRefused):
            await site.open(users, before=[held], reloads=1)
        assert await site.closed() == [closed]
        held.release(site.context)
        assert await site.closed() == [closed, "ann"]

    asyncio.run(reloaded())


@pytest.mark.parametrize(("users", "closed"), [("", "nobody"), ("broken", "broken")])
def test_a_first_one_that_is_refused_is_closed(tmp_path: Path, users: str, closed: str) -> None:
    """Where other workers have it with users."""

    async def opened() -> None:
        site = Site(tmp_path)
        (held,) = await site.open("ann")
        reports = [held.report()]
        held.release(site.context)
        with pytest.raises(CommandRefused):
            await site.open(users, reports=reports)
        assert await site.closed() == ["ann", closed]

    asyncio.run(opened())


class Endless(AsyncModule):
    """Does not come to the end of its `close`."""

    ident, arguments = "m", ()

    async def close(self) -> None:
        await asyncio.Event().wait()


def test_a_module_that_does_not_let_go_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for longer than it may take."""
    monkeypatch.setattr(guarded, "CLOSE_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(guarded.Guarded(Endless()).close(), patient(5)))
