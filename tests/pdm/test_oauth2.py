"""The module oauth2 against a real issuer, made here: keys, a server that tells them and answers to introspection."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

import popular.pdm
from popular.pdm import loader
from popular.pdm.conformance import Trials, Tried
from popular.pdm.contract import (
    PASSWORD,
    TOKEN,
    Answer,
    Authenticated,
    CannotTell,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
    Route,
    Secret,
    Token,
    Unknown,
)
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.jwtkeys import KEPT_SECONDS, REFRESH_SECONDS, UNKNOWN_SECONDS, KeySet
from popular.pdm.steps import CHECK, Record, Step
from tests.issuer import Issuer
from tests.patience import patient, within

MODULES = Path(popular.pdm.__file__).parent
ISSUER = "https://id.example.org"
CLIENT_SECRET = "client secret: 4711%"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwks(**keys: Any) -> bytes:
    """A set of these public keys, by their ids."""
    told = []
    for kid, key in keys.items():
        algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        told.append({**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"})
    return json.dumps({"keys": told}).encode()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(jwks(k1=RSA, k2=EC), CLIENT_SECRET) as made:
        yield made


def claims(**other: Any) -> dict[str, Any]:
    """What a good token says, but for what is given; None leaves a claim out."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": "popular", "email": "ann@example.org", "exp": now + 300, "iat": now, **other}
    return {name: value for name, value in said.items() if value is not None}


def signed(key: Any = RSA, kid: str | None = "k1", algorithm: str = "RS256", **other: Any) -> str:
    return jwt.encode(claims(**other), key, algorithm, {"kid": kid} if kid is not None else {})


def raw(header: dict[str, Any], payload: bytes, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), payload, signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def by_keys(issuer: Issuer, *more: str) -> list[str]:
    return ["jwks", f"{issuer.url}/keys", "issuer", ISSUER, "audience", "popular", "backend", "store1", *more]


def by_asking(issuer: Issuer, directory: Path, *more: str) -> list[str]:
    secret = directory / "secret"
    secret.write_text(CLIENT_SECRET + "\n")
    secret.chmod(0o600)
    words = ["introspect", f"{issuer.url}/introspect", "clientid", "popular", "passwordfile", str(secret)]
    return [*words, "backend", "store1", *more]


def question(token: str | bytes, user: str = "ann@example.org") -> Question:
    octets = token.encode() if isinstance(token, str) else token
    shown = Token("XOAUTH2", Secret(octets))
    return Question("192.0.2.1", "POP3", "default", user, Secret(b""), "v", token=shown)


Ask = Callable[..., Awaitable[Answer]]


def asked(arguments: list[str], dialogue: Callable[[Ask], Awaitable[None]], terms: Terms | None = None) -> None:
    """Opens the module, has the dialogue with it as the proxy would, and closes it."""

    async def run() -> None:
        guard = Guarded(loader.load(MODULES, "oauth2", "tokens", arguments=arguments))
        how = Asking(terms or Terms(timeout=patient(2.0), breaker=0), Unheard())

        async def ask(token: str | bytes, user: str = "ann@example.org") -> Answer:
            answer = await guard.put(Step(guard.module, CHECK), question(token, user), how)
            assert isinstance(answer, (Authenticated, Refused, Unknown, CannotTell))
            return answer

        ask.guard = guard  # type: ignore[attr-defined]
        try:
            await dialogue(ask)
        finally:
            await guard.close()

    asyncio.run(run())


def answers(arguments: list[str], *tokens: str | bytes, user: str = "ann@example.org") -> list[Answer]:
    heard: list[Answer] = []

    async def dialogue(ask: Ask) -> None:
        for token in tokens:
            heard.append(await ask(token, user))

    asked(arguments, dialogue)
    return heard


# JWT


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(RSA, "k1", "RS256"), (EC, "k2", "ES256"), (EC, None, "ES256")])
def test_a_token_that_is_signed_lets_in(issuer: Issuer, key: Any, kid: str | None, algorithm: str) -> None:
    """For as long as it is in force; who names nobody is who the token says."""
    token = signed(key, kid, algorithm)
    (answer,) = answers(by_keys(issuer), token)
    assert isinstance(answer, Authenticated)
    assert answer.route == Route("store1")
    assert answer.cache is not None
    assert 290 < answer.cache <= 300
    (answer,) = answers(by_keys(issuer), token, user="")
    assert isinstance(answer, Authenticated)
    assert answer.route == Route("store1", "ann@example.org")
    (answer,) = answers(by_keys(issuer, "target", "%d/%n"), token)
    assert isinstance(answer, Authenticated)
    assert answer.route == Route("store1", "example.org/ann")


def test_why_a_token_is_refused_is_told(issuer: Issuer, tmp_path: Path) -> None:
    """In the same words, however it is judged; it is for the log, and quotes nothing of the token."""
    faults: dict[str, dict[str, Any]] = {"expired": {"exp": 1}, "for another audience": {"aud": "canary"}}
    faults |= {"another user's": {"email": "canary"}, "without a user": {"email": "canary\n"}}
    for number, said in enumerate(faults.values()):
        issuer.opaque[f"t{number}"] = {"aud": "popular", "email": "ann@example.org", **said}
    by_issuer = [*by_asking(issuer, tmp_path), "userclaim", "email", "audience", "popular"]
    expected = [f"the token is {fault}" for fault in faults]
    for words, tokens in (
        (by_keys(issuer), [signed(**said) for said in faults.values()]),
        (by_issuer, [f"t{number}" for number in range(len(faults))]),
    ):
        heard = answers(words, *tokens)
        assert [answer.reason for answer in heard if isinstance(answer, Refused)] == expected


def test_what_a_token_must_say(issuer: Issuer) -> None:
    """Times, audience, user and scopes; each fault alone refuses, and what is in order lets in."""
    now = int(time.time())
    good: list[dict[str, Any]] = [
        {"exp": now - 20},  # within leeway
        {"aud": ["other", "popular"]},
        {"email_verified": True},
        {"scope": "openid mail"},
        {"scp": ["mail"]},
    ]
    bad: list[dict[str, Any]] = [
        {"exp": now - 40},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": now + 60},
        {"iat": now + 60},
        {"aud": "other"},
        {"aud": None},
        {"aud": "popularity"},
        {"email": None},
        {"email": ["ann@example.org"]},
        {"email": "max@example.org"},
        {"email": "Ann@example.org"},
        {"email": "ann@example.org\r\n"},
        {"email_verified": False},
        {"email_verified": "no"},
        {"scope": "mailbox"},
        {"scope": {"mail": 1}},
        {"scope": None},
    ]
    words = by_keys(issuer, "scope", "mail")
    tokens = [signed(**{"scope": "mail", **said}) if "scp" not in said else signed(**said) for said in [*good, *bad]]
    heard = answers(words, *tokens)
    for said, answer in zip(good, heard, strict=False):
        assert isinstance(answer, Authenticated), said
    for said, answer in zip(bad, heard[len(good) :], strict=True):
        assert isinstance(answer, Refused), said
        assert answer.route is None


def test_a_token_of_another_issuer_is_for_another_module(issuer: Issuer) -> None:
    """Such a user is not known here, nor is one whose token is none."""
    tokens: list[str | bytes] = [signed(iss="https://other.example.org"), signed(iss=None)]
    tokens += ["opaque", "a.b.c", "", b"\xff\x00", "...."]
    deep = raw({"alg": "RS256", "kid": "k1"}, b'{"iss":' + b"[" * 5000)
    for answer in answers(by_keys(issuer), *tokens, deep):
        assert isinstance(answer, Unknown)
    assert issuer.asked == []


def test_a_signature_is_believed_only_by_the_algorithm_of_its_key(issuer: Issuer) -> None:
    """None, a secret made of the public key, another key, another algorithm, a key in the header: all are refused."""
    said = json.dumps(claims()).encode()
    public = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret_of_all = raw({"alg": "HS256", "kid": "k1"}, said)
    body = secret_of_all.rpartition(".")[0]
    mac = hmac.new(public, body.encode(), hashlib.sha256).digest()
    by_public = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    good = signed()
    head, payload, signature = good.split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims(email="max@example.org")).encode()).rstrip(b"=").decode()
    own = json.loads(jwks(mine=OTHER))["keys"][0]
    huge = raw({"alg": "RS256", "kid": "k1"}, json.dumps(claims())[:-1].encode() + b', "exp": 1e400}', b"x")
    tokens = [
        raw({"alg": "none"}, said),
        raw({"alg": "None", "kid": "k1"}, said),
        by_public,
        signed(OTHER),
        signed(OTHER, kid="unknown"),
        signed(EC, "k1", "ES256"),
        signed(algorithm="RS512"),
        signed(algorithm="PS256"),
        f"{head}.{other}.{signature}",
        f"{head}.{payload}.",
        jwt.encode(claims(), OTHER, "RS256", {"kid": "mine", "jwk": own}),
        jwt.encode(claims(), RSA, "RS256", {"kid": "k1", "crit": ["b64"], "b64": True}),
        raw({"alg": "RS256", "kid": {"a": 1}}, said),
        raw({"alg": ["RS256"], "kid": "k1"}, said),
        huge,
    ]
    for number, answer in enumerate(answers(by_keys(issuer), *tokens)):
        assert isinstance(answer, (Refused, Unknown)), number
    (answer,) = answers(by_keys(issuer), good)
    assert isinstance(answer, Authenticated)


def test_a_token_of_100_kb_costs_nothing(issuer: Issuer) -> None:
    """It is refused by its length."""
    token = signed(padding="x" * 100_000)
    began = time.process_time()
    heard = answers(by_keys(issuer), *[token] * 20)
    assert all(isinstance(answer, Refused) for answer in heard)
    assert issuer.asked == []
    assert time.process_time() - began < patient(1.0)


def test_a_set_of_keys_in_a_file(issuer: Issuer, tmp_path: Path) -> None:
    """Nobody is asked; the proxy looks whether the file has changed, as it does at files of users."""
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(k1=RSA))
    words = ["jwks", str(path), *by_keys(issuer)[2:]]
    first, second = answers(words, signed(), signed(EC, "k2", "ES256"))
    assert isinstance(first, Authenticated)
    assert isinstance(second, Refused)
    assert issuer.asked == []
    assert list(loader.load(MODULES, "oauth2", "t", arguments=words).files) == [str(path)]
    path.chmod(0o666)
    with pytest.raises(ModuleFailed, match="may be written by everybody"):
        loader.load(MODULES, "oauth2", "t", arguments=words)


# Keys that change


def test_a_new_key_is_fetched_once_a_minute_at_most(issuer: Issuer) -> None:
    """A storm of keys that there are not costs the issuer one question, a new key's user a moment."""

    async def dialogue(ask: Ask) -> None:
        assert isinstance(await ask(signed()), Authenticated)
        storm = [ask(signed(OTHER, kid=f"no{number}")) for number in range(50)]
        assert all(isinstance(answer, Refused) for answer in await asyncio.gather(*storm))
        assert issuer.asked == ["/keys"]  # it was read just now

    asked(by_keys(issuer), dialogue)


def test_when_keys_are_fetched() -> None:
    """Anew by the hour, behind the askers' back; for an unknown key once a minute; while the issuer is away what was
    read counts for a day.
    """
    now, fetched, keys, away = [1000.0], [0], [jwks(k1=RSA)], [False]

    async def fetch() -> bytes:
        fetched[0] += 1
        await asyncio.sleep(0)
        if away[0]:
            raise ModuleFailed("away")
        return keys[0]

    async def run() -> None:
        found = KeySet(fetch, clock=lambda: now[0])
        waiting = await asyncio.gather(*(found.find("k1", "RS256") for _ in range(9)))
        assert all(waiting)
        assert fetched[0] == 1
        keys[0] = jwks(k1=RSA, k3=OTHER)
        assert await found.find("k3", "RS256") is None
        assert fetched[0] == 1
        now[0] += UNKNOWN_SECONDS
        told = await asyncio.gather(*(found.find(kid, "RS256") for kid in ("k3", "k4", "k5", "k3")))
        assert [key is not None for key in told] == [True, False, False, True]
        assert fetched[0] == 2
        now[0] += REFRESH_SECONDS + 1
        assert await found.find("k1", "RS256")
        assert fetched[0] == 2  # nobody waits for that
        await asyncio.sleep(0.01)
        assert fetched[0] == 3
        away[0] = True
        now[0] += KEPT_SECONDS - 1
        assert await found.find("k1", "RS256")
        for _ in range(2):  # asked now, and within the minute after that
            with pytest.raises(QuestionFailed, match="its key is not known, and the keys could not be fetched: away"):
                await found.find("k9", "RS256")
        now[0] += 2
        for _ in range(2):
            with pytest.raises(ModuleFailed):
                await found.find("k1", "RS256")
        away[0] = False
        now[0] += UNKNOWN_SECONDS
        assert await found.find("k1", "RS256")
        assert await found.find("k9", "RS256") is None
        found.close()

    asyncio.run(run())


def test_who_gives_up_does_not_end_the_fetching_for_others() -> None:
    """The first one's client hangs up while the keys are fetched."""

    async def run() -> None:
        go_on = asyncio.Event()

        async def fetch() -> bytes:
            await go_on.wait()
            return jwks(k1=RSA)

        found = KeySet(fetch)
        first, second = (asyncio.ensure_future(found.find("k1", "RS256")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await second is not None
        found.close()

    asyncio.run(run())


# The issuer's state


def test_a_token_at_which_the_issuer_fails_closes_the_module_to_nobody(issuer: Issuer, tmp_path: Path) -> None:
    """Whoever likes can make one up. What the issuer says of us is everybody's."""
    issuer.opaque["t"] = {"username": "ann@example.org"}

    async def dialogue(ask: Ask) -> None:
        for status, body in ((500, None), (400, None), (200, b"[1]"), (200, b"nonsense")):
            issuer.status, issuer.body = status, body
            assert isinstance(await ask("odd"), CannotTell), status
        issuer.status, issuer.body = 200, None
        assert isinstance(await ask("t"), Authenticated)
        issuer.status = 401
        for _ in range(3):
            answer = await ask("t")
        assert isinstance(answer, CannotTell)
        assert "not asked for" in answer.reason

    asked(by_asking(issuer, tmp_path), dialogue, Terms(breaker=2))


@pytest.mark.parametrize("way", ["keys", "asking"])
def test_an_issuer_that_is_down_stalls_or_talks_nonsense_cannot_tell(issuer: Issuer, tmp_path: Path, way: str) -> None:
    """And is asked again as soon as it is well."""
    words = by_keys(issuer) if way == "keys" else by_asking(issuer, tmp_path)
    issuer.opaque["t"] = {"username": "ann@example.org"}
    token = signed() if way == "keys" else "t"
    down = [word.replace(issuer.url, "http://127.0.0.1:1") for word in words]
    assert [type(answer) for answer in answers(down, token)] == [CannotTell]

    async def dialogue(ask: Ask) -> None:
        for status, body in ((500, None), (302, None), (200, b""), (200, b"[" * 9000), (200, b"{}"), (200, b"[1]")):
            issuer.status, issuer.body = status, body
            assert isinstance(await ask(token), CannotTell), (status, body)
        issuer.body = b" " * (1 << 19)
        assert isinstance(await ask(token), CannotTell)
        issuer.status, issuer.body = 200, None
        issuer.stalls.set()
        with within(2.0):
            answer = await ask(token)
        assert isinstance(answer, CannotTell)
        assert "no answer within" in answer.reason
        issuer.stalls.clear()
        assert isinstance(await ask(token), Authenticated)

    asked(words, dialogue, Terms(timeout=0.3, breaker=0))


# Introspection


def test_the_issuer_is_asked(issuer: Issuer, tmp_path: Path) -> None:
    """What it says counts: active, times, user; issuer and audience where they are wanted."""
    now = time.time()
    issuer.opaque = {
        "good": {"username": "ann@example.org", "exp": now + 60},
        "for ever": {"username": "ann@example.org"},
        "gone": {"username": "ann@example.org", "exp": now - 60},
        "early": {"username": "ann@example.org", "nbf": now + 60},
        "max": {"username": "max@example.org"},
        "nobody": {},
        "odd": {"username": 7},
        "odd exp": {"username": "ann@example.org", "exp": "x"},
        "bool exp": {"username": "ann@example.org", "exp": True},
        "inactive": {"username": "ann@example.org", "active": False},
    }
    words = by_asking(issuer, tmp_path)
    good, for_ever = answers(words, "good", "for ever")
    assert isinstance(good, Authenticated)
    assert good.cache is not None
    assert 50 < good.cache <= 60
    assert isinstance(for_ever, Authenticated)
    assert for_ever.cache is None
    for answer in answers(words, "gone", "early", "max", "nobody", "odd", "odd exp", "bool exp"):
        assert isinstance(answer, Refused)
    for answer in answers(words, "inactive", "unheard of", "good&token=for ever", "x\r\ny", "\0"):
        assert isinstance(answer, Unknown)
    issuer.opaque["right"] = {"username": "ann@example.org", "iss": ISSUER, "aud": ["a", "popular"]}
    strict = by_asking(issuer, tmp_path, "issuer", ISSUER, "audience", "popular")
    right, wrong = answers(strict, "right", "good")
    assert isinstance(right, Authenticated)
    assert isinstance(wrong, Refused)


@pytest.mark.parametrize(("operators", "tokens", "kept"), [(5.0, 60, True), (60.0, 0, False), (0.0, 60, False)])
def test_neither_the_operator_nor_the_token_is_outlived_by_a_cache(
    issuer: Issuer, tmp_path: Path, operators: float, tokens: int, kept: bool
) -> None:
    """The shorter of the two times counts; a token that is over within the leeway is asked about each time."""
    issuer.opaque["t"] = {"username": "ann@example.org", "exp": time.time() + tokens}
    terms = Terms(timeout=patient(2.0), breaker=0, cache=operators, negative=1.0)
    longest: list[float] = []

    async def dialogue(ask: Ask) -> None:
        for _ in range(3):
            assert isinstance(await ask("t"), Authenticated)
        longest.extend(cached.seconds for cached in ask.guard.cache._answers.values())  # type: ignore[attr-defined]

    asked(by_asking(issuer, tmp_path), dialogue, terms)
    assert len(issuer.asked) == (1 if kept else 3)
    assert longest == ([operators] if kept else [])


def test_our_own_secret_that_is_not_taken_is_told(issuer: Issuer, tmp_path: Path) -> None:
    """It is the operator's to repair, and no user's fault."""
    words = by_asking(issuer, tmp_path)
    (tmp_path / "secret").write_text("another\n")
    (answer,) = answers(words, "t")
    assert answer == CannotTell("the provider does not take our clientid and secret (HTTP status 401)")


def test_the_backend_may_stand_in_the_token(issuer: Issuer) -> None:
    """Only as an id: a token sends nobody's password to an address."""
    words = [word if word != "backend" else "backendclaim" for word in by_keys(issuer)]
    words = [word if word != "store1" else "box" for word in words]
    heard = answers(words, signed(box="b7"), signed(box="127.0.0.1:25"), signed(), signed(box=["b7"]))
    assert isinstance(heard[0], Authenticated)
    assert heard[0].route.backend == "b7"
    assert all(isinstance(answer, Refused) for answer in heard[1:])


# As a module


def test_it_takes_tokens_only_and_vouches_for_who_shows_his_own(issuer: Issuer) -> None:
    """With a password nobody asks it; another provider's users are for the module after it."""
    module = loader.load(MODULES, "oauth2", "tokens", arguments=by_keys(issuer))
    assert TOKEN in module.takes
    assert PASSWORD not in module.takes

    async def run() -> None:
        first, second = by_keys(issuer), by_keys(issuer)
        first[3] = "https://first.example.org"
        how = Asking(Terms(timeout=patient(2.0), breaker=0), Unheard())
        guards = [
            (Guarded(loader.load(MODULES, "oauth2", name, arguments=words)), how)
            for name, words in (("first", first), ("second", second))
        ]
        decision = await decide(guards, question(signed()), Record())
        assert isinstance(decision, Admitted)
        assert decision.identified_by == "second"
        assert isinstance(await decide(guards, question("x"), Record()), NobodyKnows)
        assert isinstance(await decide(guards, question(signed(exp=1)), Record()), RefusedLogin)
        password = question("")._replace(token=None, password=Secret(b"x"))
        assert isinstance(await decide(guards, password, Record()), NobodyKnows)
        guard = guards[1][0]
        assert await guard.put(Step(guard.module, "authenticate", Route("b")), question(signed()), how) is True
        assert await guard.put(Step(guard.module, "authenticate", Route("b")), question(signed(), "max"), how) is False
        assert await guard.put(Step(guard.module, "authenticate", Route("b")), password, how) is False
        for guard, _how in guards:
            await guard.close()

    asyncio.run(run())


def test_it_keeps_the_contract(issuer: Issuer, tmp_path: Path) -> None:
    """Whatever is typed, as `ptestpdm --conformance` tries it."""
    issuer.opaque["opaque-4711"] = {"username": "ann@example.org"}
    for words, token in ((by_keys(issuer), signed()), (by_asking(issuer, tmp_path), "opaque-4711")):

        async def run(words: list[str] = words, token: str = token) -> list[Tried]:
            opened = lambda: loader.load(MODULES, "oauth2", "tried", arguments=words)  # noqa: E731
            trials = Trials(opened, ("ann@example.org", Secret(token.encode())))
            return [trial async for trial in trials.all() if trial[1]]

        assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backend", "b"], "one of `jwks URL`"),
        (["jwks", "https://x/", "introspect", "https://x/", "backend", "b"], "one of `jwks URL`"),
        (["jwks", "https://x/", "issuer", "i", "audience", "a"], "one of `backend ID`"),
        (["jwks", "https://x/", "audience", "a", "backend", "b"], "jwks wants `issuer` too"),
        (["jwks", "https://x/", "issuer", "i", "backend", "b"], "jwks wants `audience` too"),
        (["introspect", "https://x/", "backend", "b"], "introspect wants `clientid` too"),
        (["introspect", "https://x/", "clientid", "c", "backend", "b"], "introspect wants `passwordfile` too"),
        (["jwks", "http://x/", "issuer", "i", "audience", "a", "backend", "b"], "http:// is allowed to this host only"),
        (["jwks", "x", "issuer", "i", "audience", "a", "backend", "b"], "a URL is https://"),
        (["jwks", "https://u:p@x/", "issuer", "i", "audience", "a", "backend", "b"], "a URL with a password"),
        (["what", "x"], "'what' is unknown; allowed: algorithms"),
        (
            [*["jwks", "https://x/", "issuer", "i", "audience", "a", "backend", "b", "algorithms", "HS256"]],
            "'HS256': allowed are RS256",
        ),
        (
            [*["jwks", "https://x/", "issuer", "i", "audience", "a", "backend", "b", "algorithms", "none"]],
            "'none': allowed are RS256",
        ),
        (
            [*["jwks", "https://x/", "issuer", "i", "audience", "a", "backend", "b", "leeway", "1000"]],
            "leeway '1000': 1 to 600",
        ),
        (
            [*["jwks", "https://x/", "issuer", "i", "audience", "a", "backend", "b", "clientid", "c"]],
            "clientid does not go with jwks",
        ),
        ([*["jwks", "/nowhere", "issuer", "i", "audience", "a", "backend", "b"]], "/nowhere cannot be read"),
    ],
)
def test_words_that_do_not_fit_are_told(words: list[str], said: str) -> None:
    """At `pdm add`, with the word and what is allowed."""
    with pytest.raises(ModuleFailed) as failure:
        loader.load(MODULES, "oauth2", "t", arguments=words)
    assert said in str(failure.value)
