"""How the life of a module goes in real workers: it is closed when its worker ends."""

import time
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, wait_until

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
            before, began = set(proxy.workers()), time.monotonic()
            proxy.said(command)
            left = wait_until(lambda before=before, more=more: _left(proxy, before, more), "they have ended")
            assert not hangs or time.monotonic() - began < patient(15)
            ended |= left
            assert sorted(closed.read_text().split()) == sorted(map(str, ended)), command


def _left(proxy: Proxy, before: set[int], most: int) -> set[int]:
    """Who of those workers has gone, if so many have."""
    left = before - set(proxy.workers())
    return left if len(left) == most else set()
