"""`user move` through modules that can be told: the database says the new place, and the proxy leads for a while."""

import json
import sqlite3
import subprocess
from pathlib import Path

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program
from tests.system.test_operating import Store

QUERY = "SELECT pw AS password, store AS backend FROM mailbox WHERE username = :user"
UPDATE = "UPDATE mailbox SET store = :backend WHERE username = :user"


class Site:
    """Two stores; joe is known by a file of SQLite, ann by a constant database, both at the first one."""

    def __init__(self, directory: Path) -> None:
        self.stores = Store(b"one"), Store(b"two")
        self.port = free_port()
        self.table, self.cdb = directory / "mail.sqlite", directory / "users.cdb"
        with sqlite3.connect(self.table) as connection:
            connection.execute("CREATE TABLE mailbox (username text, pw text, store text)")
            connection.execute("INSERT INTO mailbox VALUES ('joe', '{PLAIN}secret', 'one')")
        connection.close()
        users = b"default:ann:{PLAIN}secret:one:\ndefault:eve:{PLAIN}secret:one:\n"
        subprocess.run([program("pcdb"), "-q", str(self.cdb)], input=users, check=True, timeout=patient(30))
        rc = [
            *(
                f"backend conf {store.name.decode()} host {LOOPBACK} port {store.backend.port} state online"
                for store in self.stores
            ),
            f"pdm add users cdb {self.cdb}",
            f'pdm add table sql sqlite:{self.table} query "{QUERY}" update "{UPDATE}"',
            "pdm conf users moves on cache 1m",
            "pdm conf table moves on",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.proxy = Proxy(directory, rc, workers=2)

    def tries(self, user: str) -> bytes:
        with PopClient(self.port) as client:
            return client.log_in(user)

    def places(self) -> tuple[str, str]:
        """Where joe is in the table, and ann in the database."""
        with sqlite3.connect(self.table) as connection:
            (joe,) = connection.execute("SELECT store FROM mailbox WHERE username = 'joe'").fetchone()
        connection.close()
        return joe, "two" if b":two:" in self.cdb.read_bytes() else "one"


def test_a_module_leads_whom_it_knows(tmp_path: Path) -> None:
    """After the move it says the new place; the proxy leads him only as long as a worker can have the old answer. If
    it cannot be told all is as it was, and the reply says why. What knows nobody of that name leaves it to the proxy.
    """
    site = Site(tmp_path)
    proxy = site.proxy
    with site.stores[0].backend, site.stores[1].backend, proxy:
        for name in ("joe", "ann"):
            assert site.tries(name) == b"+OK one"
            proxy.said(f"user move {name} two")
            assert {site.tries(name) for _ in range(4)} == {b"+OK two"}
        assert site.places() == ("two", "two")
        routes = {row["id"]: row for row in proxy.json("state list")}
        assert all(row["until"] for row in routes.values()), "it ends by itself"
        assert "module users" in routes["default:ann"]["what"]

        proxy.said("user unmove joe")
        assert site.places() == ("one", "two")
        assert {site.tries("joe") for _ in range(4)} == {b"+OK one"}

        with sqlite3.connect(site.table) as connection:
            connection.execute("CREATE TRIGGER no BEFORE UPDATE ON mailbox BEGIN SELECT RAISE(FAIL, 'no'); END")
        connection.close()
        refused = proxy.control("user move joe two")
        assert not refused.ok
        assert refused.text.startswith("module table could not be told: the database: ")
        assert "everything is as it was before" in refused.text
        assert {site.tries("joe") for _ in range(4)} == {b"+OK one"}
        assert "user hold" not in json.dumps(proxy.json("state list"))

        proxy.said("pdm add one any one")
        said = proxy.control("pdm conf one moves on")
        assert not said.ok, "its moves would fail when the mail is copied"
        assert said.text.startswith("module one: moves: it cannot be told where a user's mail is")

        proxy.said("pdm conf users moves off")
        proxy.said("user move eve two")
        assert next(row for row in proxy.json("state list") if row["id"] == "default:eve")["until"] is None
        assert site.tries("eve") == b"+OK two"
        assert proxy.log("session_bug") == []


def test_whom_a_module_leads_stays_where_it_says_if_it_cannot_be_told(tmp_path: Path) -> None:
    """The proxy's own route ends by itself, and the module would lead him to the place that has no mail of his. Who is
    led by the proxy from the beginning, though modules are to be told, is so with a word about it.
    """
    site = Site(tmp_path)
    proxy = site.proxy
    with site.stores[0].backend, site.stores[1].backend, proxy:
        proxy.said("user move joe two")
        proxy.said("pdm conf table moves off")
        refused = proxy.control("user move joe one")
        assert not refused.ok
        assert refused.text.endswith(
            "the module table leads user default:joe, and cannot be told now; nothing was changed"
        )
        assert site.tries("joe") == b"+OK two"
        assert site.places()[0] == "two"

        moved = proxy.control("user move nobody two")
        assert moved.ok
        assert "no module was told where the user is, though users has `moves on`" in moved.text
        proxy.said("pdm conf users moves off")
        assert "no module was told" not in proxy.control("user move eve two").text
