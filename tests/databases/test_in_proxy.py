"""Databases in a real pproxy: what it keeps of a password lets a client in that never says it; and while one hangs that
stands after a file of users, whom the file knows logs in as ever, and whom it does not is told to come again.
"""

import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases.servers import PASSWORD, Postgresql, RedisServer
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, need
from tests.system.wire import wait_until

LIMIT_SECONDS = patient(0.05)
ROUNDS = 30


def _quoted(words: list[str]) -> str:
    return " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    with Postgresql() as server:
        yield server


SCRAM_SECRET = "s3cret of mine"
NOT_IN = "authentication failed (method SCRAM-SHA-256)"


@pytest.mark.clients
def test_keys_of_postgresql_and_secrets_let_a_mail_program_in(postgresql: Postgresql, tmp_path: Path) -> None:
    """By SCRAM-SHA-256, with the right password and not with a wrong one: a role of PostgreSQL by the keys that it has
    made itself, the same keys and a plain secret in Redis, a plain secret in a table.
    """
    postgresql.run(f"CREATE ROLE roland LOGIN PASSWORD '{SCRAM_SECRET}'")
    postgresql.run(f"INSERT INTO mailbox VALUES ('tabea', '{{PLAIN}}{SCRAM_SECRET}', 'mail/tabea', true)")
    ((keys,),) = postgresql.rows("SELECT rolpassword FROM pg_authid WHERE rolname = 'roland'")
    assert keys.startswith("SCRAM-SHA-256$")
    url, *words = postgresql.arguments()
    of_roles = (
        "SELECT rolpassword AS password, 'store1' AS backend FROM pg_authid WHERE rolname = :user AND rolcanlogin"
    )
    port = free_port()
    with RedisServer() as redis:
        with redis.client() as client:
            client.hset("mail:renate", mapping={"password": keys})
            client.hset("mail:rudi", mapping={"password": "{PLAIN}" + SCRAM_SECRET})
        modules = {
            "roles": ["sql", url, *words[: words.index("query")], "query", of_roles],
            "table": ["sql", url, *words],
            "hashes": ["redis", *redis.arguments()],
        }
        proxy = Proxy(
            tmp_path,
            [
                "backend conf store1 state fake",
                *(
                    f"pdm add {name} {_quoted([*module, 'takes', 'password,scram'])}"
                    for name, module in modules.items()
                ),
                f"vserv conf v iface {LOOPBACK} port {port} mechanisms user,scram-sha-256 state online",
            ],
            workers=1,
        )
        with proxy:
            for user in ("roland", "tabea", "renate", "rudi"):
                assert _mpop(tmp_path, port, user, password=SCRAM_SECRET) == "", user
                assert NOT_IN in _mpop(tmp_path, port, user, password=SCRAM_SECRET + "!"), user
                with PopClient(port) as other:
                    assert other.log_in(user, SCRAM_SECRET).startswith(b"+OK"), "the same keys fit who says it"
            assert NOT_IN in _mpop(tmp_path, port, "nobody", password=SCRAM_SECRET)
            proxy.wait_until_quiet()
            assert proxy.state().counters()["sasl_logins"]["SCRAM-SHA-256"] == 4


def _mpop(directory: Path, port: int, user: str, *, password: str) -> str:
    """What this mail program says that has no other way to log in than SCRAM: nothing, if it may come in."""
    rc = directory / "mpoprc"
    rc.write_text(
        f"account default\nhost {LOOPBACK}\nport {port}\ntls off\nauth scram-sha-256\nuser {user}\n"
        f'password "{password}"\nuidls_file {directory}/uidls\ndelivery mda cat\n'
    )
    rc.chmod(0o600)
    done = subprocess.run(
        [need("mpop"), "-C", str(rc), "--quiet"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patient(30),
        check=False,
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert (done.returncode == 0) is (text == ""), text
    return text


def test_a_database_that_hangs_costs_only_those_who_need_it(postgresql: Postgresql, tmp_path: Path) -> None:
    port = free_port()
    users = tmp_path / "users"
    users.write_text("default:ann:{PLAIN}secret:store1:\n")
    users.chmod(0o600)
    proxy = Proxy(
        tmp_path,
        [
            "backend conf store1 state fake",
            f"pdm add files passwd {users}",
            f"pdm add users sql {_quoted(postgresql.arguments())}",
            "pdm conf users timeout 1s breaker 3 pause 3s",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ],
        workers=1,
    )

    def login(user: str, password: str) -> tuple[bytes, float]:
        with PopClient(port) as client:
            client.ask(f"USER {user}")
            began = time.monotonic()
            return client.ask(f"PASS {password}"), time.monotonic() - began

    with proxy:
        assert login("joe", PASSWORD)[0].startswith(b"+OK")
        assert login("joe", "wrong")[0].startswith(b"-ERR [AUTH]")
        with postgresql.stalled():
            for _ in range(3):
                assert login("joe", PASSWORD)[0].startswith(b"-ERR [SYS/TEMP]")
                reply, seconds = login("ann", "wrong")
                assert reply.startswith(b"-ERR [SYS/TEMP]"), "else it is seen whom the file knows"
                assert seconds < patient(0.5), "of her the database need not be asked"
            reply, seconds = login("joe", PASSWORD)
            assert reply.startswith(b"-ERR [SYS/TEMP]")
            assert seconds < patient(0.5), "the breaker is not open"
            times = []
            for _ in range(ROUNDS):
                reply, seconds = login("ann", "secret")
                assert reply.startswith(b"+OK")
                times.append(seconds)
            assert statistics.median(times) < LIMIT_SECONDS
        wait_until(lambda: login("joe", PASSWORD)[0].startswith(b"+OK"), "the database is asked again", patient(30))
