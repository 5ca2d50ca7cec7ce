"""How the life of a module goes in real workers: it is closed when its worker ends, and its code may be edited."""

import os
import signal
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

_MODULE = """
import asyncio
import os
import time
from popular.pdm.contract import UNKNOWN, {base}

class Mortal({base}):
    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, tuple(arguments)

    {word}def check(self, question):
        return UNKNOWN

    {word}def close(self):
        with open(self.arguments[0], "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        {hangs}

def open_module(ident, arguments):
    return Mortal(ident, arguments)
"""


@pytest.mark.parametrize("base", ["Module", "AsyncModule"])
@pytest.mark.parametrize("hangs", [False, True])
def test_each_worker_that_ends_closes_its_modules_once(tmp_path: Path, base: str, hangs: bool) -> None:
    """However it ends, if it does so in order; one that hangs in it keeps its worker a second."""
    word, closed = "async " if base == "AsyncModule" else "", tmp_path / "closed"
    pause = ("await asyncio.sleep(60)" if word else "time.sleep(60)") if hangs else "pass"
    (tmp_path / "libpdm_mortal.py").write_text(_MODULE.format(base=base, word=word, hangs=pause))
    closed.touch()
    rc = [f"set pdmdir {tmp_path}", f"pdm add mortal mortal {closed}"]
    rc.append(f"vserv conf v iface {LOOPBACK} port {free_port()} state online")
    with Proxy(tmp_path, rc) as proxy:
        ended: set[int] = set()
        for command, more in (("workers recycle", 2), ("set workers 1", 1), ("shutdown children", 1)):
            before = set(proxy.workers())
            proxy.said(command)
            left = wait_until(lambda before=before, more=more: _left(proxy, before, more), "they have ended")
            ended |= left
            assert sorted(closed.read_text().split()) == sorted(map(str, ended)), command


_QUITS = """
import sys
from popular.pdm.contract import UNKNOWN, AsyncModule

class Quits(AsyncModule):
    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, tuple(arguments)

    async def check(self, question):
        return UNKNOWN

    async def close(self):
        sys.exit()

open_module = Quits
"""


def test_a_module_that_quits_in_its_close_keeps_no_other_from_it(tmp_path: Path) -> None:
    """The one after it still has what it wants to wait for."""
    closed = tmp_path / "closed"
    (tmp_path / "libpdm_quits.py").write_text(_QUITS)
    mortal = _MODULE.format(base="AsyncModule", word="async ", hangs="pass")
    waits = mortal.replace("with open", "await asyncio.sleep(0.1)\n        with open")
    (tmp_path / "libpdm_mortal.py").write_text(waits)
    rc = [f"set pdmdir {tmp_path}", "pdm add quits quits", f"pdm add mortal mortal {closed}"]
    with Proxy(tmp_path, rc, workers=1) as proxy:
        (worker,) = proxy.workers()
        proxy.said("shutdown all")
        assert proxy.process.wait(patient(10)) == 0
    assert closed.read_text().split() == [str(worker)]


_SHY = """
import os
import sys
from popular.pdm.contract import UNKNOWN, Module

class Shy(Module):
    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, tuple(arguments)

    @property
    def takes(self):
        frame = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name == "kinds_taken":
                raise ZeroDivisionError
            frame = frame.f_back
        return ("password",)

    def check(self, question):
        return UNKNOWN

    def close(self):
        with open(self.arguments[0], "a") as file:
            file.write(f"{os.getpid()}\\n")

open_module = Shy
"""


def test_a_module_that_fails_when_it_is_put_to_use_is_closed(tmp_path: Path) -> None:
    """It was opened, and the service that was to have it cannot be made."""
    closed = tmp_path / "closed"
    (tmp_path / "libpdm_shy.py").write_text(_SHY)
    with Proxy(tmp_path, [f"set pdmdir {tmp_path}"]) as proxy:
        refused = proxy.control(f"pdm add shy shy {closed}")
        assert (refused.ok, "ZeroDivisionError" in refused.text) == (False, True)
        workers = sorted(map(str, proxy.workers()))
        wait_until(lambda: closed.exists() and sorted(closed.read_text().split()) == workers, "all have let go of it")
        assert proxy.said("pdm list").lines == []


def _left(proxy: Proxy, before: set[int], most: int) -> set[int]:
    """Who of those workers has gone, if so many have."""
    left = before - set(proxy.workers())
    return left if len(left) == most else set()


_FIRM = """
from popular.pdm.contract import Module, Refused

class Firm(Module):
    blocking = False

    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, tuple(arguments)

    def check(self, question):
        return Refused(text="WORD")

    def reload(self):
        return Firm(self.ident, self.arguments)

def open_module(ident, arguments):
    return Firm(ident, arguments)
"""


def test_code_that_is_edited_counts_everywhere_when_the_operator_reloads_it(tmp_path: Path) -> None:
    """A worker that is born meanwhile has it already: the log says so, and `pdm show`, until it is reloaded. Code that
    cannot be loaded changes nothing.
    """
    file, port = tmp_path / "libpdm_firm.py", free_port()
    file.write_text(_FIRM.replace("WORD", "one"))
    rc = [f"set pdmdir {tmp_path}", "pdm add firm firm"]
    rc.append(f"vserv conf v iface {LOOPBACK} port {port} state online")
    with Proxy(tmp_path, rc) as proxy:
        file.write_text(_FIRM.replace("WORD", "two"))
        os.kill(proxy.workers()[0], signal.SIGKILL)
        (note,) = wait_until(lambda: proxy.log("config_note"), "it is told")
        assert note.fields["of"] == "module firm"
        assert "its own file has changed" in note.fields["note"]
        assert "# its own file has changed" in proxy.said("pdm show firm").lines[-1]
        assert {_word(port) for _ in range(12)} <= {b"one", b"two"}

        assert proxy.said("pdm reload firm").ok
        assert {_word(port) for _ in range(12)} == {b"two"}
        assert len(proxy.said("pdm show firm").lines) == 1
        file.write_text("def open_module(:")
        assert "cannot be imported" in proxy.control("pdm reload firm").text
        assert {_word(port) for _ in range(4)} == {b"two"}


def _word(port: int) -> bytes:
    with PopClient(port) as client:
        client.greeted()
        return client.log_in("joe").split()[-1]
