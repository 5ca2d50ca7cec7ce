"""SASL through Dovecot's authentication server: a real one, which has the keys and does the exchange itself."""

import asyncio
import base64
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import jwt
import pytest

from popular.pdm import dovecotconnection
from popular.pdm.contract import CannotTell, ClientResponse, KeysWanted, Question, Secret, Token
from popular.pdm.decision import Admitted, Decision, RefusedLogin, ToHandOn
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.libpdm_dovecot import Dovecot
from popular.pdm.ptestpdm import main as ptestpdm
from popular.pdm.steps import Record
from popular.protocol.sasl import saslname
from popular.protocol.scram import ScramClient
from popular.proxy.session.explain.dialogues import DIALOGUES
from tests.databases.servers import PASSWORD, DovecotAuth
from tests.databases.test_in_proxy import NOT_IN, SCRAM_SECRET, _mpop
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port

KEYS = (
    "{SCRAM-SHA-256}10000,AAECAwQFBgcICQoLDA0ODxAREhMUFRYX,"
    "pz6Nvq421wqz+5a1+kOi+4wHCmC5hWxUU4SOsbQcHJc=,ZYlEVXpQNS7Rc1n0NqR5vCSq4Tikh9Q2ndMUf6fOenU="
)
"""Keys of the password s3cret."""
SHARED = b"a secret that the issuer shares with the server"
_MORE = """\
auth_username_chars =
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/tokens.conf
}}
"""
_TOKENS_CONF = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={home}/keys/
username_attribute = sub
"""


class DovecotSasl(DovecotAuth):
    """With keys of SCRAM for ann, a hash of another kind for bob, and tokens that are signed by a shared secret."""

    mechanisms = "plain scram-sha-256 xoauth2 oauthbearer"
    more = _MORE

    def users(self) -> str:
        return f"{super().users()}ann:{KEYS}\ncarl=x:{KEYS}\nbob:{{SHA256}}{base64.b64encode(bytes(32)).decode()}\n"

    def prepare(self) -> None:
        super().prepare()
        keys = self.home / "keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        (keys / "default").write_text(base64.b64encode(SHARED).decode())
        (self.home / "tokens.conf").write_text(_TOKENS_CONF.format(home=self.home))

    def arguments(self) -> list[str]:
        return [*super().arguments(), "takes", "password,scram,token"]


@pytest.fixture(scope="module")
def server() -> Iterator[DovecotSasl]:
    with DovecotSasl() as started:
        assert isinstance(started, DovecotSasl)
        yield started


def question(user: str = "ann", password: bytes = b"") -> Question:
    return Question("192.0.2.1", "POP3", "default", user=user, password=Secret(password), vserv="v")


Put = Callable[[Question], Awaitable[Decision]]


def asked(server: DovecotSasl, dialogue: Callable[[Put], Awaitable[None]]) -> None:
    async def run() -> None:
        guard = Guarded(Dovecot("m", server.arguments()))
        how = Asking(Terms(timeout=patient(10.0), breaker=0), Unheard())

        async def put(asked: Question) -> Decision:
            return await decide([(guard, how)], asked, Record())

        try:
            await dialogue(put)
        finally:
            await guard.close()

    asyncio.run(run())


def wanted(user: str, first: bytes) -> Question:
    return question(user)._replace(proof=KeysWanted("SCRAM-SHA-256", user.encode().ljust(64, b"s"), first))


def responded(challenged: Decision, user: str, said: bytes) -> Question:
    assert isinstance(challenged, ToHandOn), challenged
    response = ClientResponse("SCRAM-SHA-256", challenged.identified_by, said, challenged.said.respond)
    return question(user)._replace(proof=response)


async def waited_for(put: Put, user: str) -> tuple[float, float]:
    """How long the challenge takes, and the refusal of a wrong proof."""
    client, began = ScramClient(user, "wrong", "nonce"), time.monotonic()
    challenged = await put(wanted(user, client.first()))
    assert isinstance(challenged, ToHandOn)
    between = time.monotonic()
    assert isinstance(await put(responded(challenged, user, client.final(challenged.said.challenge))), RefusedLogin)
    return between - began, time.monotonic() - between


async def logged_in(put: Put, user: str, password: str) -> Decision:
    """By SCRAM, as a client does it."""
    client = ScramClient(user, password, "nonce")
    challenged = await put(wanted(user, client.first()))
    assert isinstance(challenged, ToHandOn)
    proven = await put(responded(challenged, user, client.final(challenged.said.challenge)))
    if not isinstance(proven, ToHandOn):
        return proven
    assert client.trusts(proven.said.challenge), "it has the keys, too"
    return await put(responded(proven, user, b""))


def test_an_exchange_is_between_client_and_server(server: DovecotSasl) -> None:
    """By keys, and by a password in clear; wrong proofs, users without keys and unknown users are refused after it."""

    async def dialogue(put: Put) -> None:
        admitted = await logged_in(put, "ann", "s3cret")
        assert isinstance(admitted, Admitted)
        assert admitted.route.backend == "store1"
        assert isinstance(await logged_in(put, "joe", PASSWORD), Admitted)
        wrong = (("ann", "S3cret"), ("joe", "x"), ("bob", "s3cret"), ("nobody", "s3cret"))
        refused = [logged_in(put, user, password) for user, password in wrong]

        async def nonsense(user: str, said: bytes) -> Decision:
            challenged = await put(wanted(user, b"n,,n=" + user.encode() + b",r=x"))
            return await put(responded(challenged, user, said))

        for said in (b"", b"x", b"c=biws,r=nonce,p=AAAA", b"\n" * 3000):
            refused += [nonsense(user, said) for user in ("ann", "nobody")]
        assert {type(decision) for decision in await asyncio.gather(*refused)} == {RefusedLogin}

    asked(server, dialogue)


def test_who_somebody_is_is_known_before_he_hears_that_his_proof_holds(server: DovecotSasl) -> None:
    """The server writes his name in small letters: an order about that account can be looked at. What he says after it
    is an empty line, and nothing else.
    """

    async def dialogue(put: Put) -> None:
        for said, decision in ((b"", Admitted), (b"x", RefusedLogin)):
            client = ScramClient("ANN", "s3cret", "nonce")
            challenged = await put(wanted("ANN", client.first()))
            assert isinstance(challenged, ToHandOn)
            assert challenged.said.account == ""
            proven = await put(responded(challenged, "ANN", client.final(challenged.said.challenge)))
            assert isinstance(proven, ToHandOn)
            assert proven.said.account == "ann"
            assert isinstance(await put(responded(proven, "ANN", said)), decision)

    asked(server, dialogue)


def test_who_is_unknown_is_shown_what_others_are(server: DovecotSasl) -> None:
    """A challenge of the form that the last one had who was challenged, one salt for one name, a nonce of its own."""

    async def dialogue(put: Put) -> None:
        shown: dict[str, tuple[bytes, bytes]] = {}
        for user in ("ann", "ann", "nobody", "nobody", "bob", "other"):
            challenged = await put(wanted(user, b"n,,n=" + user.encode() + b",r=mine"))
            assert isinstance(challenged, ToHandOn)
            match = re.fullmatch(rb"r=mine([!-+\--~]{64}),s=(.*),i=(\d+)", challenged.said.challenge)
            assert match is not None, challenged.said.challenge
            nonce, salt, iterations = match.groups()
            assert (len(base64.b64decode(salt)), iterations) == (24, b"10000"), user
            assert shown.setdefault(user, (salt, nonce))[0] == salt
            shown[user + "!"] = (salt, nonce)
        assert shown["nobody"][1] != shown["nobody!"][1]
        assert len({salt for salt, _nonce in shown.values()}) == 4

    asked(server, dialogue)


def test_who_is_unknown_waits_as_long(server: DovecotSasl) -> None:
    """For the challenge, which Dovecot has at once for who has keys; and for the refusal, which it holds back until its
    next round of refusals. So three at a time, at different moments between two rounds: one round can come between
    the three of one moment, and not of all.
    """

    async def dialogue(put: Put) -> None:
        waited: dict[str, list[tuple[float, float]]] = {user: [] for user in ("ann", "nobody", "bob")}

        async def three_wait(moment: int) -> None:
            await asyncio.sleep(0.11 * moment)
            for user, seconds in zip(waited, await asyncio.gather(*(waited_for(put, u) for u in waited)), strict=True):
                waited[user].append(seconds)

        await asyncio.gather(*(three_wait(moment) for moment in range(5)))
        for step in (0, 1):
            medians = [statistics.median(one[step] for one in each) for each in waited.values()]
            assert max(medians) - min(medians) < patient(0.1), medians

    asked(server, dialogue)


def test_a_name_with_a_namespace_is_not_the_servers_user(server: DovecotSasl) -> None:
    """The server sees the message alone: `carl=x` is a user of its own there, and not carl of the namespace x."""

    async def dialogue(put: Put) -> None:
        assert isinstance(await logged_in(put, "carl=x", "s3cret"), Admitted)
        first = b"n,,n=" + saslname(b"carl=x") + b",r=nonce"
        assert isinstance(await put(wanted("carl=x", first)), ToHandOn)
        assert isinstance(await put(wanted("carl", first)), RefusedLogin)

    asked(server, dialogue)


def test_clients_that_go_away_in_the_middle_fill_nothing(server: DovecotSasl, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is open for the longest time is given up; whoever comes next comes in."""
    monkeypatch.setattr(dovecotconnection, "MOST_OPEN", 40)

    async def dialogue(put: Put) -> None:
        client = ScramClient("ann", "s3cret", "nonce")
        oldest = await put(wanted("ann", client.first()))
        assert isinstance(oldest, ToHandOn)
        for batch in range(6):  # half as many more: on a busy machine some have their challenge later
            many = (put(wanted("ann", b"n,,n=ann,r=%d.%d" % (batch, number))) for number in range(10))
            assert {type(decision) for decision in await asyncio.gather(*many)} == {ToHandOn}
        late = await put(responded(oldest, "ann", client.final(oldest.said.challenge)))
        assert isinstance(late, CannotTell)
        assert "given up" in late.reason
        assert isinstance(await logged_in(put, "ann", "s3cret"), Admitted)

    asked(server, dialogue)


def test_tokens(server: DovecotSasl) -> None:
    """By both mechanisms; who shows none of his, or one that is none, is refused, and told so by us."""
    now = int(time.time())

    def token(user: str, key: bytes = SHARED, seconds: int = 60) -> bytes:
        return jwt.encode({"sub": user, "iat": now, "exp": now + seconds}, key, algorithm="HS256").encode()

    async def dialogue(put: Put) -> None:
        for mechanism in ("XOAUTH2", "OAUTHBEARER"):

            async def come_of(user: str, shown: bytes, mechanism: str = mechanism) -> Decision:
                return await put(question(user)._replace(token=Token(mechanism, Secret(shown))))

            assert isinstance(await come_of("ann", token("ann")), Admitted)
            wrong = (token("ann", b"x" * 40), b"nonsense", token("ann", seconds=-60), token("joe"))
            decisions = await asyncio.gather(*(come_of("ann", shown) for shown in wrong))
            assert [type(decision) for decision in decisions] == [RefusedLogin] * 4, mechanism
            assert isinstance(await come_of("ann", b"x" * 20000), CannotTell)

    asked(server, dialogue)


def test_a_mechanism_that_the_server_lacks() -> None:
    """Nobody can tell, of this login; the others log in as ever."""
    lacking = DovecotAuth()
    with lacking:
        module = Dovecot("m", [*lacking.arguments(), "takes", "password,scram"])

        async def run() -> None:
            guard, how = Guarded(module), Asking(Terms(breaker=1), Unheard())
            answer = await decide([(guard, how)], wanted("ann", b"n,,n=ann,r=x"), Record())
            assert isinstance(answer, CannotTell)
            assert "does not offer SCRAM-SHA-256" in answer.reason
            assert isinstance(await decide([(guard, how)], question("joe", PASSWORD.encode()), Record()), Admitted)
            await guard.close()

        asyncio.run(run())


@pytest.mark.nightly  # half a second for each refusal
def test_it_keeps_the_contract(server: DovecotSasl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with the user whom it knows, and his proof."""
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "secret").chmod(0o600)
    known = ["--user", "ann", "--passwordfile", str(tmp_path / "secret")]
    words = [*server.arguments()[:-1], "password,scram"]
    status = ptestpdm([*known, "--conformance", "dovecot", *words])
    assert (status, "FAILED" in (told := capsys.readouterr().out)) == (0, False), told


@pytest.mark.clients
def test_a_mail_program_logs_in_through_a_proxy(tmp_path: Path) -> None:
    """GNU SASL's client proves to Dovecot that it has the password, and Dovecot to it that it has the keys; who is
    unknown is refused at the same place. Beside it PASS, and clients that give up.
    """
    port = free_port()
    with DovecotSasl() as server:
        words = " ".join([*server.arguments()[:-1], "password,scram"])
        proxy = Proxy(
            tmp_path,
            [
                "backend conf store1 state fake",
                f"pdm add users dovecot {words}",
                f"vserv conf v iface {LOOPBACK} port {port} mechanisms user,scram-sha-256 state online",
            ],
            workers=1,
        )
        with proxy:
            assert _mpop(tmp_path, port, "ann", password="s3cret") == ""
            assert NOT_IN in _mpop(tmp_path, port, "ann", password=SCRAM_SECRET)
            assert NOT_IN in _mpop(tmp_path, port, "nobody", password="s3cret")
            with PopClient(port) as client:
                client.greeted()
                client.ask("CAPA")
                assert b"SASL SCRAM-SHA-256" in client.block()
                said = {user: _dialogue(client, user, b"wrong") for user in ("ann", "nobody")}
                assert {tuple(len(reply) for reply in replies) for replies in said.values()} == {
                    tuple(len(reply) for reply in said["ann"])
                }, "as many replies, as long"
                assert {replies[-1] for replies in said.values()} == {said["ann"][-1]}
                for line in ("AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=ann,r=x").decode(), "*"):
                    client.say(line.encode() + b"\r\n")
                    client.line()
                assert client.log_in("joe", PASSWORD).startswith(b"+OK")
            proxy.wait_until_quiet()
            counters = proxy.state().counters()
            assert counters["sasl_logins"]["SCRAM-SHA-256"] == 1
            assert counters["module_answers"]["handed_on"] == 7, "twice where the proof holds, once for each other"


def _dialogue(client: PopClient, user: str, secret: bytes) -> list[bytes]:
    """All that a client hears that logs in by SCRAM."""
    lines = DIALOGUES["SCRAM-SHA-256"].speak(user.encode(), secret, b"")
    line, heard = next(lines), list[bytes]()
    while True:
        client.say(line + b"\r\n")
        heard.append(client.line())
        if not heard[-1].startswith(b"+ "):
            return heard
        line = lines.send(heard[-1])
