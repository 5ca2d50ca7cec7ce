"""Credentials that are no passwords: which modules take them, and what they make of them."""

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from popular.pdm import passwords
from popular.pdm.answercache import AnswerCache
from popular.pdm.arguments import kinds
from popular.pdm.contract import (
    CERTIFICATE,
    CHALLENGE,
    PASSWORD,
    SCRAM,
    TOKEN,
    UNKNOWN,
    Answer,
    Authenticated,
    CannotTell,
    CertificateShown,
    ChallengeAnswer,
    KeysWanted,
    Module,
    ModuleFailed,
    Proof,
    Provable,
    Question,
    Refused,
    Route,
    Secret,
    Token,
    Unknown,
)
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin, ToProve, Undecided
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.libpdm_http import answer_of, escaped, request_headers
from popular.pdm.loader import OWN_DIRECTORY, load
from popular.pdm.record import Defaults, Verifier, stored_user, takes_of
from popular.pdm.steps import Record, first_step
from popular.protocol.sasl import digest_of
from popular.protocol.scram import ScramKeys, invented_keys, keys_of
from tests.pdm.asking import ask
from tests.system.certificates import Authority

CHALLENGE_SAID = b"<1.2@pop.example.org>"
HASHED = "$6$decoydecoy$" + "." * 86
SALT = bytes(range(64))
KEYS = cast(ScramKeys, keys_of(b"pencil", bytes.fromhex("5b6d99689d12358eeca04b141236fa81")))
assert KEYS is not None
_KEYS_IN_BASE64 = (
    "W22ZaJ0SNY7soEsUEjb6gQ==",
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
)
DOVECOT = "{SCRAM-SHA-256}4096," + ",".join(_KEYS_IN_BASE64)
POSTGRESQL = "SCRAM-SHA-256$4096:{}${}:{}".format(*_KEYS_IN_BASE64)
"""The keys of RFC 7677's example, in both spellings."""


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
    assert passwd(tmp_path, *plain).takes == {PASSWORD, CHALLENGE, SCRAM, CERTIFICATE}
    assert passwd(tmp_path, *plain, f"default:joe:{DOVECOT}:b1:").takes == {PASSWORD, SCRAM, CERTIFICATE}
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
    """What a record says it says by fields; one without a password is one that a certificate may open."""
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


def test_http_tells_of_a_certificate_what_nginx_does() -> None:
    """EXTERNAL, and whose it is; of whom it does not know more than the name it is told no more."""
    authority = Authority()
    pem = authority.issue("ann", client=True).certificate
    der = pem.public_bytes(Encoding.DER)
    shown = question(proof=CertificateShown(), certificate="ann")
    assert not [name for name in request_headers(shown) if name.startswith("Auth-SSL")]
    headers = request_headers(shown._replace(certificate=der, tls_version="TLSv1.3", tls_cipher="X"))
    assert (headers["Auth-Method"], headers["Auth-User"], headers["Auth-Pass"]) == ("external", "ann", "")
    assert (headers["Auth-SSL"], headers["Auth-SSL-Verify"]) == ("on", "SUCCESS")
    assert headers["Auth-SSL-Subject"] == "CN=ann"
    assert headers["Auth-SSL-Issuer"] == escaped(pem.issuer.rfc4514_string().encode())
    assert int(headers["Auth-SSL-Serial"], 16) == pem.serial_number
    assert headers["Auth-SSL-Fingerprint"] == hashlib.sha1(der).hexdigest()
    assert unquote(headers["Auth-SSL-Cert"]).encode() == pem.public_bytes(Encoding.PEM)
    assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())
    others = [shown, shown._replace(certificate=der), shown._replace(certificate=der + b"x")]
    assert len({AnswerCache(b"k" * 32).key(one, by_address=False) for one in others}) == 3, (
        "the answer may depend on it"
    )


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        ("Invalid login or password", "", "Invalid login or password"),
        ("[IN-USE] once is enough", "IN-USE", "once is enough"),
        ("[] x", "", "[] x"),
        ("gesperrt\u00fc", "", ""),
        ("a\tb", "", ""),
    ],
)
def test_what_http_says_of_a_refusal_is_what_the_client_is_told(status: str, code: str, text: str) -> None:
    """As by nginx, as far as it can stand in a reply; the chain hands it on."""
    refused = answer_of({"Auth-Status": status, "Auth-Wait": "2"}, "")
    assert refused == Refused(code=code, wait=2.0, text=text)
    module = Knows("http", PASSWORD, answer=refused)
    assert ask([module], question()) == RefusedLogin("http", code=code, wait=2.0, text=text)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("Temporary server problem, try again later", "451 4.3.0", "SYS/TEMP"),
        ("Temporary server problem, try again later", "421", "SYS/TEMP"),
        ("Invalid login or password", "535 5.7.8", ""),
        ("[IN-USE] once is enough", "451 4.3.0", "IN-USE"),
    ],
)
def test_a_server_that_has_failed_says_nothing_of_a_password(status: str, error: str, code: str) -> None:
    """In nginx's own example of it, and by its code alone."""
    refused = answer_of({"Auth-Status": status, "Auth-Error-Code": error}, "")
    assert isinstance(refused, Refused)
    assert refused.code == code


# Keys of SCRAM


def keys_wanted(user: str = "ann") -> Question:
    return question(user, proof=KeysWanted("SCRAM-SHA-256", SALT))


def test_a_file_hands_out_keys(tmp_path: Path) -> None:
    """Those that are stored, or those of the password itself, which the backend is told then; not a word of either."""
    module = passwd(tmp_path, f"default:ann:{DOVECOT}:b1:", "default:bob:{PLAIN}pencil:b1:")
    assert module.check(keys_wanted()) == Provable(KEYS, Route("b1"))
    of_bob = module.check(keys_wanted("bob"))
    assert of_bob == Provable(cast(ScramKeys, keys_of(b"pencil", SALT[:16])), Route("b1", None, Secret(b"pencil")))
    assert "pencil" not in repr(of_bob)


def test_who_is_locked_or_unknown_is_shown_what_others_are(tmp_path: Path) -> None:
    """Keys that fit nobody, as long as those of the file: its salts have 24 octets, of 8000 iterations."""
    rare = cast(ScramKeys, keys_of(b"x", bytes(24), 8000))
    coded = ",".join(base64.b64encode(part).decode() for part in (rare.salt, rare.stored_key, rare.server_key))
    module = passwd(tmp_path, f"default:ann:{{SCRAM-SHA-256}}8000,{coded}:b1:", "default:eve:!:b1:")
    shown = invented_keys(SALT, rare)
    assert module.check(keys_wanted("eve")) == Provable(shown, Route("b1"), locked=True)
    assert ask([module], keys_wanted("eve")) == ToProve(shown, Route("b1"), "users", locked=True)
    unknown = module.check(keys_wanted("joe"))
    assert isinstance(unknown, Unknown)
    assert unknown.decoy is not None
    assert unknown.decoy() == shown
    assert ask([module], keys_wanted("joe")) == NobodyKnows(shown)


def test_decoys_of_passwords_in_clear_cost_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are made for who is unknown, or locked, as they are for who is known; and thrown away."""
    module = passwd(tmp_path, "default:bob:{PLAIN}pencil:b1:", "default:eve:!:b1:")
    made = []

    def counted(password: bytes, salt: bytes, iterations: int = 4096) -> ScramKeys | None:
        made.append(password)
        return keys_of(password, salt, iterations)

    monkeypatch.setattr(passwords, "keys_of", counted)
    for user in ("bob", "eve", "joe"):
        ask([module], keys_wanted(user))
        assert made == [b"pencil"], user
        made.clear()


@pytest.mark.parametrize("stored", [DOVECOT, POSTGRESQL])
def test_keys_in_records(stored: str) -> None:
    """In either spelling, with the user's limits; a record without keys says so by keys that nobody has."""
    verifier = Verifier("db")
    one = stored_user("ann", {"password": stored, "sessions": 2}, Defaults("b1"))
    assert verifier.decide(one, keys_wanted()) == Provable(KEYS, Route("b1"), one.limits)
    assert verifier.decide(one, question(password=b"pencil")) == Authenticated(Route("b1"), one.limits)
    assert verifier.decide(one, question(password=b"Pencil")) == Refused(Route("b1"))
    locked = stored_user("ann", {"password": stored, "locked": 1}, Defaults("b1"))
    assert verifier.decide(locked, keys_wanted()) == Provable(KEYS, Route("b1"), locked=True)
    other = stored_user("ann", {"password": HASHED}, Defaults("b1"))
    assert verifier.decide_among([other, one], keys_wanted()) == Provable(KEYS, Route("b1"), one.limits)
    for nothing in (other, stored_user("ann", {}, Defaults("b1"))):
        answer = verifier.decide(nothing, keys_wanted())
        assert isinstance(answer, Provable)
        assert answer.keys.fit_nobody
        assert not answer.locked
    unknown = verifier.decide(None, keys_wanted())
    assert isinstance(unknown, Unknown)
    verifier.close()


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
    assert ask([password, challenge], answered(b"x")) == RefusedLogin("challenge")
    assert ask([password], answered(b"x")) == NobodyKnows()
    assert password.asked == 0
    token = question()._replace(token=Token("XOAUTH2", Secret(b"t")))
    assert ask([password, challenge], token) == NobodyKnows()


@pytest.mark.parametrize("proof", [None, CertificateShown()], ids=["any password", "EXTERNAL"])
def test_the_example_lets_in_who_has_a_certificate_with_his_name(proof: Proof | None) -> None:
    """By its name alone, and nobody else."""
    example = Path(__file__).parents[2] / "deploy" / "popular"
    module = cast(Module, load(example, "certificate", "certs", arguments=["b1"]))
    mine = question(password=b"" if proof else b"x", proof=proof, certificate="ann")
    assert ask([module], mine) == Admitted(HERE, "certs", "certs")
    for other in (mine._replace(user="bob"), mine._replace(certificate_name=""), mine._replace(user="")):
        assert ask([module], other) == NobodyKnows()


@pytest.mark.parametrize("kind", [TOKEN, CHALLENGE, CERTIFICATE])
def test_a_password_is_put_to_nobody_who_takes_none(kind: str) -> None:
    """Wherever he stands: `takes certificate` is no way in for who knows the password; nor does he vouch for it."""
    typed = question(password=b"secret")
    other = Knows("other", kind, answer=Authenticated(HERE), vouches=True)
    users = Knows("users", PASSWORD, answer=Refused(HERE))
    for modules in ([other], [other, other]):
        assert ask(modules, typed) == NobodyKnows()
    for modules in ([other, users], [users, other]):
        assert ask(modules, typed) == RefusedLogin("users")
        guards = [(Guarded(module), Asking(Terms(), Unheard())) for module in modules]
        assert asyncio.run(decide(guards, typed, Record())) == RefusedLogin("users")
    assert other.asked == 0


@pytest.mark.parametrize("answer", [Authenticated(HERE), Refused(HERE)])
def test_who_acts_for_another_has_to_be_vouched_for(answer: Answer) -> None:
    """The user's own password, and a module that takes everybody, do not let somebody else in; a master does."""
    acting = question(password=b"secret", actor="boss")
    users, master = Knows("users", PASSWORD, answer=answer), Knows("m", PASSWORD, answer=UNKNOWN, vouches=True)
    assert ask([users], acting) == RefusedLogin("users")
    assert ask([users, master], acting) == Admitted(HERE, "users", "m", vouched=True)


@pytest.mark.parametrize("answer", [Authenticated(HERE), Provable(KEYS._replace(iterations=1), HERE)])
def test_keys_are_no_login_and_a_login_is_no_key(answer: Answer) -> None:
    """Who is asked for keys lets nobody in, and nobody vouches: nothing is proven yet. Keys are sound, or none."""
    wrong = Knows("wrong", SCRAM, PASSWORD, answer=answer, vouches=True)
    right = Knows("right", SCRAM, PASSWORD, answer=Provable(KEYS, HERE), vouches=True)
    refusing = Knows("refusing", SCRAM, PASSWORD, answer=Refused(HERE), vouches=True)
    for modules, decision in (
        ([wrong], Undecided),
        ([right], ToProve),
        ([wrong, right], ToProve),
        ([refusing, right], RefusedLogin),
    ):
        guards = [(Guarded(module), Asking(Terms(), Unheard())) for module in modules]
        assert type(ask(modules, keys_wanted())) is decision
        assert type(asyncio.run(decide(guards, keys_wanted(), Record()))) is decision
    assert type(ask([right], question(password=b"x"))) is CannotTell


def decided(modules: list[Module], asked: Question, *, failing: Module) -> Decision:
    """On the loop, after a question that this module could not answer."""

    async def both() -> Decision:
        guards = [(Guarded(module), Asking(Terms(), Unheard())) for module in modules]
        (failed,) = [pair for pair in guards if pair[0].module is failing]
        await failed[0].put(first_step(failing, asked), asked, failed[1])
        return await decide(guards, asked, Record())

    return asyncio.run(both())


class Fails(Knows):
    """A database that is down."""

    blocking = True

    def check(self, question: Question) -> Answer:
        del question
        raise ModuleFailed("no connection")


@pytest.mark.parametrize("place", [0, 1], ids=["in front", "behind"])
def test_a_module_that_fails_does_not_tell_who_has_keys(place: int) -> None:
    """Who is known, has no keys, or is unknown: each is shown keys as users have them, and none is told yet that nobody
    can tell; whose proof holds comes in all the same.
    """
    fails = Fails("down", SCRAM, answer=UNKNOWN)
    shown = invented_keys(SALT, KEYS)
    for answer, expected in (
        (Provable(KEYS, HERE), ToProve),
        (Refused(HERE), Undecided),
        (Unknown(lambda: shown), Undecided),
    ):
        modules: list[Module] = [Knows("users", SCRAM, answer=answer)]
        modules.insert(place, fails)
        decision = decided(modules, keys_wanted(), failing=fails)
        assert type(decision) is expected
        assert "down: " in (decision.doubt if isinstance(decision, ToProve) else decision.reason)
        if isinstance(answer, Unknown):
            assert decision.keys == shown


def test_answers_to_challenges_are_not_cached() -> None:
    """None comes twice, so each would only push another answer out; a certificate's is, by its name."""
    module = Knows("m", PASSWORD, CHALLENGE, CERTIFICATE, SCRAM, answer=Authenticated(HERE))
    guard, how = Guarded(module), Asking(Terms(cache=60.0), Unheard())

    async def twice(asked: Question) -> int:
        before = module.asked
        for _ in range(2):
            await guard.put(first_step(module, asked), asked, how)
        return module.asked - before

    assert asyncio.run(twice(answered(b"secret"))) == 2
    assert asyncio.run(twice(keys_wanted())) == 2, "they would be a list of keys"
    assert len(guard.cache) == 0
    assert asyncio.run(twice(question(proof=CertificateShown(), certificate="ann"))) == 1
    cache = AnswerCache(b"k" * 32)
    others = [question(actor="boss"), question(proof=CertificateShown()), question()]
    assert len({cache.key(one, by_address=False) for one in others}) == len(others)
