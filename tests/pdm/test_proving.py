"""Credentials that are no passwords: which modules take them, and what they make of them."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from popular.pdm import chain
from popular.pdm.answercache import AnswerCache
from popular.pdm.arguments import kinds
from popular.pdm.chain import Admitted, NobodyKnows, RefusedLogin, Step
from popular.pdm.contract import (
    CERTIFICATE,
    CHALLENGE,
    PASSWORD,
    TOKEN,
    UNKNOWN,
    Answer,
    Authenticated,
    CertificateShown,
    ChallengeAnswer,
    Module,
    ModuleFailed,
    Proof,
    Question,
    Refused,
    Route,
    Secret,
    Token,
)
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.libpdm_http import request_headers
from popular.pdm.loader import OWN_DIRECTORY, load
from popular.pdm.record import Defaults, Verifier, stored_user, takes_of
from popular.protocol.sasl import digest_of

CHALLENGE_SAID = b"<1.2@pop.example.org>"
HASHED = "$6$decoydecoy$" + "." * 86


def question(
    user: str = "ann", password: bytes = b"", *, proof: Proof | None = None, certificate: str = "", actor: str = ""
) -> Question:
    return Question(
        client_ip="192.0.2.1",
        protocol="POP3",
        namespace="default",
        user=user,
        password=Secret(password),
        vserv="v1",
        certificate_name=certificate,
        proof=proof,
        actor=actor,
    )


def answered(secret: bytes, mechanism: str = "CRAM-MD5", user: str = "ann") -> Question:
    digest = digest_of(mechanism, CHALLENGE_SAID, secret)
    return question(user, proof=ChallengeAnswer(mechanism, CHALLENGE_SAID, digest))


def passwd(directory: Path, *lines: str) -> Module:
    path = directory / "users"
    path.write_text("".join(f"{line}\n" for line in lines))
    return cast(Module, load(OWN_DIRECTORY, "passwd", "users", arguments=[str(path)]))


# Modules with stored passwords


def test_a_file_takes_challenges_where_all_its_passwords_are_in_clear(tmp_path: Path) -> None:
    """One hash, and nobody may be asked for an answer: his would be wrong, whatever he knows."""
    plain = ["default:ann:{PLAIN}secret:b1:", "default:bob:{CLEARTEXT}secret:b1:", "default:eve:!:b1:"]
    assert passwd(tmp_path, *plain).takes == {PASSWORD, CHALLENGE, CERTIFICATE}
    assert passwd(tmp_path, *plain, f"default:joe:{HASHED}:b1:").takes == {PASSWORD, CERTIFICATE}


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "APOP"])
def test_a_challenge(tmp_path: Path, mechanism: str) -> None:
    """Who has the password is let in, and the backend is told it, unless it has another one; nobody else is."""
    module = passwd(
        tmp_path, "default:ann:{PLAIN}secret:b1:", "default:bob:{PLAIN}secret:b1:bob:other", "default:eve:!:b1:"
    )
    assert module.check(answered(b"secret", mechanism)) == Authenticated(Route("b1", None, Secret(b"secret")))
    assert module.check(answered(b"secret", mechanism, "bob")) == Authenticated(Route("b1", "bob", Secret(b"other")))
    assert module.check(answered(b"wrong", mechanism)) == Refused(Route("b1"))
    assert module.check(answered(b"", mechanism, "eve")) == Refused(Route("b1"))
    assert module.check(answered(b"secret", mechanism, "joe")) is UNKNOWN, "there is no work to hide"


def test_a_hash_answers_no_challenge(tmp_path: Path) -> None:
    """Neither a right one nor the hash itself."""
    module = passwd(tmp_path, f"default:ann:{HASHED}:b1:")
    assert module.check(answered(HASHED.encode())) == Refused(Route("b1"))


def test_a_certificate_lets_in_whom_it_names(tmp_path: Path) -> None:
    """Nobody else, nobody without a name, and nobody who is locked; a certificate beside a password means nothing."""
    module = passwd(tmp_path, f"default:ann:{HASHED}:b1:", "default:eve:!:b1:")
    shown = CertificateShown()
    assert module.check(question(proof=shown, certificate="ann")) == Authenticated(Route("b1"))
    assert module.check(question(proof=shown, certificate="bob")) == Refused(Route("b1"))
    assert module.check(question(proof=shown)) == Refused(Route("b1"))
    assert module.check(question("eve", proof=shown, certificate="eve")) == Refused(Route("b1"))
    assert module.check(question("ann", b"wrong", certificate="ann")) == Refused(Route("b1"))


def test_records_of_databases() -> None:
    """The same by fields; a record without a password is one that a certificate may open."""
    defaults = Defaults(backend="b1")
    user = stored_user("ann", {"password": "{PLAIN}secret"}, defaults)
    verifier = Verifier("db")
    assert verifier.decide(user, answered(b"secret")) == Authenticated(Route("b1", None, Secret(b"secret")))
    assert verifier.decide(user, answered(b"wrong")) == Refused(Route("b1"))
    assert verifier.decide(None, answered(b"secret")) is UNKNOWN
    nobody = stored_user("ann", {}, defaults)
    by_certificate = question(proof=CertificateShown(), certificate="ann")
    assert verifier.decide(nobody, by_certificate) == Authenticated(Route("b1"))
    verifier.close()


def test_the_argument_takes() -> None:
    """Only kinds that there are; passwords, if nothing is said."""
    assert takes_of("sql", {}) == {PASSWORD}
    assert takes_of("sql", {"takes": "password,challenge"}) == {PASSWORD, CHALLENGE}
    with pytest.raises(ModuleFailed, match=r"sql: takes 'token': some of .* are allowed"):
        takes_of("sql", {"takes": TOKEN})
    assert kinds("http", {"takes": CHALLENGE}, "takes", allowed=frozenset({CHALLENGE})) == {CHALLENGE}


def test_http_asks_as_nginx_does() -> None:
    """Auth-Method, the challenge as Auth-Salt, the digest as Auth-Pass."""
    headers = request_headers(answered(b"secret", "APOP"))
    assert headers["Auth-Method"] == "apop"
    assert headers["Auth-Salt"] == CHALLENGE_SAID.decode()
    assert headers["Auth-Pass"] == digest_of("APOP", CHALLENGE_SAID, b"secret").decode()
    assert request_headers(answered(b"x"))["Auth-Method"] == "cram-md5"
    assert "Auth-Salt" not in request_headers(question(password=b"x"))


# The chain


class Knows(Module):
    """Knows ann, takes what it is told to take, and may vouch."""

    blocking = False

    def __init__(self, ident: str, *takes: str, answer: Answer, vouches: bool = False) -> None:
        self.ident, self.arguments, self.takes = ident, (), frozenset(takes)
        self._answer, self._vouches = answer, vouches
        self.asked = 0

    def check(self, question: Question) -> Answer:
        del question
        self.asked += 1
        return self._answer

    def authenticate(self, question: Question, route: Route) -> bool:
        del question, route
        return self._vouches


HERE = Route("b1")


def test_only_modules_that_take_it_are_asked() -> None:
    """Also in the second round; if none takes it, nobody knows the user."""
    password = Knows("password", PASSWORD, answer=Authenticated(HERE), vouches=True)
    challenge = Knows("challenge", CHALLENGE, answer=Refused(HERE))
    assert chain.ask([password, challenge], answered(b"x")) == RefusedLogin("challenge")
    assert chain.ask([password], answered(b"x")) == NobodyKnows()
    assert password.asked == 0
    token = question()._replace(token=Token("XOAUTH2", Secret(b"t")))
    assert chain.ask([password, challenge], token) == NobodyKnows()


@pytest.mark.parametrize("proof", [None, CertificateShown()], ids=["any password", "EXTERNAL"])
def test_the_example_lets_in_who_has_a_certificate_with_his_name(proof: Proof | None) -> None:
    """By its name alone, and nobody else."""
    example = Path(__file__).parents[2] / "deploy" / "popular"
    module = cast(Module, load(example, "certificate", "certs", arguments=["b1"]))
    mine = question(password=b"" if proof else b"x", proof=proof, certificate="ann")
    assert chain.ask([module], mine) == Admitted(HERE, "certs", "certs")
    for other in (mine._replace(user="bob"), mine._replace(certificate_name=""), mine._replace(user="")):
        assert chain.ask([module], other) == NobodyKnows()


@pytest.mark.parametrize("kind", [TOKEN, CHALLENGE, CERTIFICATE])
def test_a_password_is_put_to_nobody_who_takes_none(kind: str) -> None:
    """Wherever he stands: `takes certificate` is no way in for who knows the password; nor does he vouch for it."""
    typed = question(password=b"secret")
    other = Knows("other", kind, answer=Authenticated(HERE), vouches=True)
    users = Knows("users", PASSWORD, answer=Refused(HERE))
    for modules in ([other], [other, other]):
        assert chain.ask(modules, typed) == NobodyKnows()
    for modules in ([other, users], [users, other]):
        assert chain.ask(modules, typed) == RefusedLogin("users")
        guards = [(Guarded(module), Asking(Terms(), Unheard())) for module in modules]
        assert asyncio.run(decide(guards, typed, chain.Record())) == RefusedLogin("users")
    assert other.asked == 0


@pytest.mark.parametrize("answer", [Authenticated(HERE), Refused(HERE)])
def test_who_acts_for_another_has_to_be_vouched_for(answer: Answer) -> None:
    """The user's own password, and a module that takes everybody, do not let somebody else in; a master does."""
    acting = question(password=b"secret", actor="boss")
    users, master = Knows("users", PASSWORD, answer=answer), Knows("m", PASSWORD, answer=UNKNOWN, vouches=True)
    assert chain.ask([users], acting) == RefusedLogin("users")
    assert chain.ask([users, master], acting) == Admitted(HERE, "users", "m", vouched=True)


def test_answers_to_challenges_are_not_cached() -> None:
    """None comes twice, so each would only push another answer out; a certificate's is, by its name."""
    module = Knows("m", PASSWORD, CHALLENGE, CERTIFICATE, answer=Authenticated(HERE))
    guard, how = Guarded(module), Asking(Terms(cache=60.0), Unheard())
    step = Step(module, chain.CHECK)

    async def twice(asked: Question) -> int:
        before = module.asked
        for _ in range(2):
            await guard.put(step, asked, how)
        return module.asked - before

    assert asyncio.run(twice(answered(b"secret"))) == 2
    assert len(guard.cache) == 0
    assert asyncio.run(twice(question(proof=CertificateShown(), certificate="ann"))) == 1
    cache = AnswerCache(b"k" * 32)
    others = [question(actor="boss"), question(proof=CertificateShown()), question()]
    assert len({cache.key(one, by_address=False) for one in others}) == len(others)
