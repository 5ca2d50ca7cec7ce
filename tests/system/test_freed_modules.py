"""What a worker lets go of at once, though the collector does not come for a long time: lists of users are large."""

from pathlib import Path

from popular.pdm.loader import OWN_DIRECTORY
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port

KINDS = ("Passwd", "ModuleChain", "VservRuntime", "Limits")
COUNTING = f'''
import gc
from popular.pdm.contract import UNKNOWN, Module

class Counting(Module):
    """Tells how many objects of some kinds there are."""

    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, tuple(arguments)
        living = [type(one).__name__ for one in gc.get_objects()]
        self.notes = [" ".join(str(living.count(kind)) for kind in {KINDS!r})]

    def check(self, question):
        return UNKNOWN

open_module = Counting
'''


def test_nothing_is_left_of_former_configurations(tmp_path: Path) -> None:
    """Neither after reloads of a module, nor when it is taken out, whatever was asked of it meanwhile."""
    (tmp_path / "libpdm_counting.py").write_text(COUNTING)
    users, port = tmp_path / "users", free_port()
    users.write_text("default:joe:{PLAIN}joe:store:\n")
    lines = [
        "set pdmwatch 0",
        "backend conf store state fake",
        f"pdm add users passwd {users}",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(tmp_path, lines, workers=1) as proxy:
        for command in ("pdm conf users cache 1h", "pdm reload users", "pdm conf users cache 0", "pdm reload users"):
            proxy.said(command)
            with PopClient(port) as client:
                assert client.ask("USER joe").startswith(b"+OK")
                assert client.ask("PASS joe").startswith(b"+OK")
            assert proxy.said("explain joe")
        proxy.said("pdm del users")
        proxy.said(f"set pdmdir {tmp_path}")
        assert proxy.said("pdm add counting counting").text.endswith("0 1 1 1")
        proxy.said("pdm del counting")
        proxy.said(f"set pdmdir {OWN_DIRECTORY}")
