"""Redis in TLS, behind sentinels, and as a cluster: the same users; who cannot be believed is told nothing."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from popular.pdm.contract import CannotTell, ModuleFailed
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.libpdm_redis import open_module
from tests.databases.servers import PASSWORD, SERVER_SECRET, USERS, RedisServer
from tests.databases.test_conformance import DEADLINE, Ask, asked, until_admitted
from tests.patience import patient, within
from tests.system.certificates import Authority
from tests.system.wire import LOOPBACK, free_port, wait_until

pytestmark = pytest.mark.nightly


class RedisInTls(RedisServer):
    """It listens in TLS only; its certificate is for its name."""

    def prepare(self) -> None:
        super().prepare()
        self.authority = Authority()
        leaf = self.authority.issue("localhost")
        leaf.write(self.home, "redis")
        (self.home / "ca.pem").write_bytes(self.authority.pem)

    def command(self) -> Sequence[str]:
        words = list(super().command())
        words[words.index("--port") + 1] = "0"
        tls = ["--tls-port", str(self.port), "--tls-cert-file", str(self.home / "redis.pem")]
        tls += ["--tls-key-file", str(self.home / "redis.key"), "--tls-ca-cert-file", str(self.home / "ca.pem")]
        return [*words, *tls, "--tls-auth-clients", "no"]

    def client(self) -> Any:
        return redis.Redis(
            "localhost", self.port, password=SERVER_SECRET, ssl=True, ssl_ca_certs=str(self.home / "ca.pem")
        )

    def arguments(self) -> list[str]:
        url, *words = super().arguments()
        return [
            url.replace("redis:", "rediss:").replace(LOOPBACK, "localhost"),
            *words,
            "cafile",
            str(self.home / "ca.pem"),
        ]


class RedisBehindSentinel(RedisServer):
    """A master, a replica of it, and one sentinel, which is enough to make the replica the master."""

    master = "mail"

    def __enter__(self) -> "RedisBehindSentinel":
        super().__enter__()
        self.others = contextlib.ExitStack()
        try:
            replica = self.others.enter_context(_Beside(["--replicaof", LOOPBACK, str(self.port)]))
            self.replica = replica.port
            sentinel = self.home / "sentinel.conf"
            sentinel.write_text(
                f"sentinel monitor {self.master} {LOOPBACK} {self.port} 1\n"
                f"sentinel auth-pass {self.master} {SERVER_SECRET}\n"
                f"sentinel down-after-milliseconds {self.master} 500\n"
                f"sentinel failover-timeout {self.master} 3000\n"
            )
            self.sentinel = self.others.enter_context(_Beside([], config=sentinel)).port
            wait_until(self._is_known, "the sentinel knows master and replica", patient(30))
        except BaseException:
            self.others.close()
            super().__exit__()
            raise
        return self

    def _is_known(self) -> bool:
        with redis.Redis(LOOPBACK, self.sentinel) as client:
            return int(client.sentinel_master(self.master)["num-slaves"]) == 1 and self._is_filled()

    def _is_filled(self) -> bool:
        with redis.Redis(LOOPBACK, self.replica, password=SERVER_SECRET) as client:
            return bool(client.exists("mail:max"))

    def __exit__(self, *exception: object) -> None:
        self.others.close()
        super().__exit__(*exception)

    def arguments(self) -> list[str]:
        _url, *words = super().arguments()
        nobody = f"{LOOPBACK}:{free_port()}"
        return [f"redis://{nobody},{LOOPBACK}:{self.sentinel}/0", *words, "sentinel", self.master]


class _Beside(RedisServer):
    """One more process: a replica, or, with a configuration of its own, a sentinel."""

    def __init__(self, more: Sequence[str], config: Path | None = None) -> None:
        super().__init__()
        self._more, self._config = more, config

    def command(self) -> Sequence[str]:
        words = list(super().command())
        if self._config is not None:
            return [words[0], str(self._config), "--sentinel", "--port", str(self.port), "--bind", LOOPBACK]
        return [*words, "--masterauth", SERVER_SECRET, *self._more]

    def fill(self) -> None:
        """It gets what the master has."""


class RedisCluster(RedisServer):
    """One node that has all slots: the least that is a cluster."""

    def command(self) -> Sequence[str]:
        # By itself it takes the port that is 10000 higher, which somebody else may have.
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())]

    def fill(self) -> None:
        with redis.Redis(LOOPBACK, self.port, password=SERVER_SECRET) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            wait_until(
                lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
                "the cluster is one",
                patient(30),
            )
        super().fill()

    def arguments(self) -> list[str]:
        url, *words = super().arguments()
        return [url.removesuffix("/0"), *words, "cluster", "on"]


FORMS = (RedisInTls, RedisBehindSentinel, RedisCluster)


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def form(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with request.param() as started:
        yield started


async def knows(ask: Ask) -> None:
    """Who is in it comes in, and nobody else."""
    for user in USERS:
        decision = await ask(user)
        assert isinstance(decision, Admitted), decision
        assert decision.route.target == "mail/joe"
    assert isinstance(await ask("joe", "wrong"), RefusedLogin)
    assert isinstance(await ask("nobody"), NobodyKnows)
    assert isinstance(await ask("max", PASSWORD), RefusedLogin)


def test_the_users_are_found_also_when_the_server_was_away(form: RedisServer) -> None:
    """It is *cannot tell* while it is away, and by itself as before when it is back; behind a sentinel, the replica
    takes its place.
    """

    async def dialogue(ask: Ask) -> None:
        await knows(ask)
        form.kill()
        with within(DEADLINE):
            decision = await ask("nobody")
        assert isinstance(decision, CannotTell), decision
        if not isinstance(form, RedisBehindSentinel):
            form.start()
        await until_admitted(ask)
        await knows(ask)

    asked(form, dialogue)


def test_a_server_with_a_certificate_of_somebody_else_is_not_believed() -> None:
    """Nor is it sent the password; without `cafile` the authorities of the system count."""

    async def dialogue(ask: Ask) -> None:
        assert isinstance(await ask("joe"), CannotTell)

    with RedisInTls() as server:
        (server.home / "ca.pem").write_bytes(Authority("Somebody else").pem)
        asked(server, dialogue)


@pytest.mark.parametrize(
    "words", [["redis://127.0.0.1", "cafile", "/dev/null"], ["rediss://127.0.0.1", "cafile", "/no"]]
)
def test_a_cafile_without_tls_or_without_a_file_is_refused(words: list[str]) -> None:
    with pytest.raises(ModuleFailed, match=r"cafile|/no"):
        open_module("m", words)
