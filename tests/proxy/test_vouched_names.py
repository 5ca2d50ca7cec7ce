"""Whose a certificate or a token is, where the client says the namespace itself: who vouches for `joe` vouches for
nobody who has this name in another namespace.
"""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import popular.pdm
from popular.pdm.contract import CERTIFICATE, PASSWORD, TOKEN, Authenticated, Question, Refused, Route, Unknown
from popular.pdm.loader import load
from popular.proxy.settings.mechanisms import WAYS
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import rules

IN_TREE = Path(popular.pdm.__file__).parent
EXAMPLES = Path(__file__).parents[2] / "deploy" / "popular"
KEY = ec.generate_private_key(ec.SECP256R1())
PEOPLE = "".join(
    f"{who}:{{PLAIN}}secret:{store}:\n"
    for who, store in (("default:joe", "store1"), ("corp:joe", "store2"), ("corp:joe=default", "store2"))
)
SAME, ANOTHER = True, False
VOUCHED = {
    ("joe", "joe"): SAME,
    ("joe", "joe=default"): SAME,
    ("joe=default", "joe"): SAME,
    ("joe=", "joe"): SAME,
    ("joe=corp", "joe=corp"): SAME,
    ("joe=default=corp", "joe=default=corp"): SAME,
    ("joe", "joe=corp"): ANOTHER,
    ("joe=default", "joe=corp"): ANOTHER,
    ("joe=corp", "joe"): ANOTHER,
    ("joe", "joe=default=corp"): ANOTHER,
    ("joe=default", "joe=default=corp"): ANOTHER,
    ("=corp", "joe=corp"): ANOTHER,
    ("ann=corp", "joe=corp"): ANOTHER,
}
"""What is vouched for, and what the client says → whether that is one person."""
pairs = pytest.mark.parametrize(
    ("vouched", "said", "same"), [(*names, same) for names, same in VOUCHED.items()], ids=map(" for ".join, VOUCHED)
)


def begun(certificate: str = "", **other: Any) -> PureSession:
    """A session in TLS, under the namespace USER."""
    given: dict[str, Any] = {"namespace": "USER", "protocol": "POP3s", "clientcert": "optional", **other}
    session = PureSession(rules(takes=frozenset({PASSWORD, TOKEN, CERTIFICATE}), mechanisms=WAYS, **given))
    session.begin()
    session.tls_up(certificate)
    return session


def asked(session: PureSession, *lines: bytes) -> Question:
    """What the modules are asked when the client has said so."""
    for line in lines:
        verbs = session.says(line + b"\r\n")
    assert verbs[-1][0] == "ask", verbs
    question: Question = verbs[-1][1]
    return question


def external(said: str) -> bytes:
    return b"AUTH EXTERNAL " + (base64.b64encode(said.encode()) or b"=")


@pairs
def test_a_certificate(vouched: str, said: str, same: bool, tmp_path: Path) -> None:
    """By EXTERNAL to a file of users; and by any password to a module that looks at nothing but the name."""
    (tmp_path / "users").write_text(PEOPLE)
    users: Any = load(IN_TREE, "passwd", "users", arguments=[str(tmp_path / "users")])
    question = asked(begun(vouched), external(said))
    store = "store2" if question.namespace == "corp" else "store1"
    assert users.check(question) == (Authenticated(Route(store)) if same else Refused(Route(store)))
    example: Any = load(EXAMPLES, "certificate", "c", arguments=["store1"])
    for lines in ([external(said)], [b"USER " + said.encode(), b"PASS x"]):
        assert isinstance(example.check(asked(begun(vouched), *lines)), Authenticated if same else Unknown), lines


@pytest.mark.parametrize(("name", "expected"), [("joe", "default"), ("joe=corp", "corp"), ("joe=", "default")])
def test_a_certificate_alone_says_the_namespace_too(name: str, expected: str) -> None:
    """Without an authorization id it is the certificate that names the user."""
    question = asked(begun(name), external(""))
    assert (question.user, question.namespace, question.certificate_name) == ("joe", expected, "joe")


def test_where_the_client_has_no_say_a_name_is_a_name() -> None:
    """All of it, "=" included."""
    question = asked(begun("joe=corp", namespace="work"), external("joe=corp"))
    assert (question.user, question.certificate_name, question.defaultns) == ("joe=corp", "joe=corp", "")


@pairs
def test_a_token(vouched: str, said: str, same: bool, tmp_path: Path) -> None:
    """By itself, and where it is to vouch for a user whom another module has found."""
    claims: dict[str, Any] = {
        "iss": "https://id.example.org",
        "aud": "popular",
        "email": vouched,
        "exp": int(time.time()) + 300,
    }
    token = jwt.encode(claims, KEY, "ES256", {"kid": "k1"})
    told = {**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k1", "use": "sig"}
    (tmp_path / "keys").write_text(json.dumps({"keys": [told]}))
    words = ["jwks", str(tmp_path / "keys"), "issuer", claims["iss"], "audience", "popular", "backend", "store1"]
    tokens: Any = load(IN_TREE, "oauth2", "tokens", arguments=words)
    shown = base64.b64encode(f"user={said}\x01auth=Bearer {token}\x01\x01".encode())
    question = asked(begun(), b"AUTH XOAUTH2 " + shown)

    async def run() -> None:
        await tokens.ready()
        answer = await tokens.check(question)
        assert isinstance(answer, Authenticated if same else Refused)
        assert same or answer.reason == "the token is another user's"
        assert await tokens.authenticate(question, Route("store1")) is same
        await tokens.close()

    asyncio.run(run())
