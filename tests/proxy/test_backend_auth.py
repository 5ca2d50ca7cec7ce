"""How a backend is logged in at otherwise than by USER and PASS: the dialogues, and what the machine makes of them."""

import base64
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from popular.pdm.contract import Route, Secret, Token
from popular.pdm.decision import Admitted, NobodyKnows
from popular.proxy.session.backend.backend_auth import Credentials, login_for
from popular.proxy.session.backend.backend_login import START_TLS, Broken, LoggedIn, Pop3Login, Rejected
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.modulefiles import SETTLED_SECONDS
from popular.proxy.settings.secretfiles import KeptSecret
from supervisor.control.language.outcome import Change, Outcome, Reply
from tests.proxy.console import Console, refused
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import backend, rules

PASSWORD, MASTERS, TOKEN = b"s3cret", b"m4ster", b"tok.en-4711_" * 30
XCLIENT = b"XCLIENT ADDR=192.0.2.1 PORT=4711 SESSION=p01.1.2 TTL=7"


def told(text: bytes) -> bytes:
    return base64.b64encode(text)


def like(login: str, **other: Any) -> Backend:
    kept = KeptSecret("/etc/popular/master", MASTERS)
    return replace(backend("pop"), login=login, masteruser="boss", mastersecret=kept, **other)


def dialogue(
    login: str,
    *,
    user: str = "ann",
    mechanism: str = "XOAUTH2",
    offered: tuple[str, ...] = (),
    xclient: bytes = b"",
    ahead: bool = False,
    token: bytes = TOKEN,
    password: bytes = PASSWORD,
    **other: Any,
) -> Pop3Login:
    shown = Credentials(user, Secret(password), Token(mechanism, Secret(token)) if login == "xoauth2" else None)
    where = like(login, **other)
    return login_for(where, shown, xclient=xclient, ahead=ahead, offered=frozenset(offered))


# What is said


@pytest.mark.parametrize(
    ("login", "other", "said"),
    [
        ("plain", {}, b"AUTH PLAIN " + told(b"\0ann\0s3cret")),
        ("master", {"masterform": "plain"}, b"AUTH PLAIN " + told(b"ann\0boss\0m4ster")),
        ("external", {}, b"AUTH EXTERNAL " + told(b"ann")),
    ],
)
def test_one_line_says_it(login: str, other: dict[str, Any], said: bytes) -> None:
    """AUTH with its response, after STLS and XCLIENT; what comes after +OK is the client's."""
    made = dialogue(login, **other)
    assert made.hear(b"+OK hi\r\n") == said + b"\r\n"
    assert made.hear(b"+OK in\r\n+OK more") == LoggedIn(b"+OK in", b"+OK more")
    made = dialogue(login, tls="starttls", xclient=XCLIENT, **other)
    assert made.hear(b"+OK [XCLIENT] hi\r\n") == b"STLS\r\n"
    assert made.hear(b"+OK\r\n") is START_TLS
    assert made.tls_up() == XCLIENT + b"\r\n"
    assert made.hear(b"+OK\r\n") == said + b"\r\n"
    assert made.hear(b"+OK\r\n") == LoggedIn(b"+OK", b"")


@pytest.mark.parametrize("ahead", [False, True])
def test_a_master_behind_a_separator_is_user_and_pass(ahead: bool) -> None:
    """USER ann*boss, and in one piece where the backend can do with that."""
    made = dialogue("master", ahead=ahead, masterseparator="*")
    said = made.hear(b"+OK\r\n")
    if not ahead:
        assert said == b"USER ann*boss\r\n"
        said = made.hear(b"+OK\r\n")
    assert said == b"USER ann*boss\r\n" * ahead + b"PASS m4ster\r\n"


def test_a_response_that_does_not_fit_into_a_command_comes_behind_it() -> None:
    """255 octets are a command's, its end included (RFC 2449 section 4): 180 of what PLAIN says fit with it."""
    longest = 180 - len(b"\0ann\0")
    made = dialogue("plain", password=b"x" * longest)
    line = made.hear(b"+OK\r\n")
    assert isinstance(line, bytes)
    assert 250 < len(line) <= 255
    made = dialogue("plain", password=b"x" * (longest + 1))
    assert made.hear(b"+OK\r\n") == b"AUTH PLAIN\r\n"
    assert made.hear(b"+ \r\n") == told(b"\0ann\0" + b"x" * (longest + 1)) + b"\r\n"
    assert made.hear(b"+OK\r\n") == LoggedIn(b"+OK", b"")


@pytest.mark.parametrize(
    ("client", "offered", "mechanism"),
    [
        ("XOAUTH2", (), "XOAUTH2"),
        ("OAUTHBEARER", (), "OAUTHBEARER"),
        ("OAUTHBEARER", ("PLAIN", "XOAUTH2"), "XOAUTH2"),
        ("XOAUTH2", ("PLAIN", "OAUTHBEARER"), "OAUTHBEARER"),
        ("OAUTHBEARER", ("XOAUTH2", "OAUTHBEARER"), "OAUTHBEARER"),
    ],
)
def test_a_token_is_passed_on_by_the_mechanism_that_the_backend_has(
    client: str, offered: tuple[str, ...], mechanism: str
) -> None:
    """In two lines, since a token rarely fits into one, and one line is not taken everywhere."""
    made = dialogue("xoauth2", user="a=b,c", mechanism=client, offered=offered)
    assert made.hear(b"+OK\r\n") == f"AUTH {mechanism}\r\n".encode()
    forms = {
        "XOAUTH2": b"user=a=b,c\x01auth=Bearer %b\x01\x01",
        "OAUTHBEARER": b"n,a=a=3Db=2Cc,\x01auth=Bearer %b\x01\x01",
    }
    assert made.hear(b"+ \r\n") == told(forms[mechanism] % TOKEN) + b"\r\n"
    assert made.hear(b"+OK\r\n") == LoggedIn(b"+OK", b"")


@pytest.mark.parametrize(("mechanism", "last_word"), [("XOAUTH2", b"\r\n"), ("OAUTHBEARER", b"AQ==\r\n")])
def test_a_backend_that_explains_its_refusal_is_heard_to_the_end(mechanism: str, last_word: bytes) -> None:
    """The explanation is one more challenge; it is answered, and then the refusal comes. Once."""
    made = dialogue("xoauth2", mechanism=mechanism)
    made.hear(b"+OK\r\n")
    made.hear(b"+ \r\n")
    assert made.hear(b"+ " + told(b'{"status":"401"}') + b"\r\n") == last_word
    refused = made.hear(b"-ERR [AUTH] no\r\n")
    assert isinstance(refused, Rejected)
    assert (refused.of_login, refused.word, refused.code) == (True, "auth", b"AUTH")
    made = dialogue("xoauth2", mechanism=mechanism)
    for line in (b"+OK", b"+ ", b"+ eA=="):
        made.hear(line + b"\r\n")
    assert isinstance(made.hear(b"+ eA==\r\n"), Broken)


@pytest.mark.parametrize("login", ["plain", "external"])
def test_a_backend_that_asks_for_more_gets_nothing(login: str) -> None:
    """No secret is said twice; two replies to one command are none."""
    for said in (b"+ \r\n", b"+\r\n", b"+ eA==\r\n"):
        made = dialogue(login)
        made.hear(b"+OK\r\n")
        broken = made.hear(said)
        assert isinstance(broken, Broken)
        assert broken.word == "auth"
    made = dialogue("xoauth2")
    made.hear(b"+OK\r\n")
    assert isinstance(made.hear(b"+ \r\n+OK\r\n"), Broken)


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("plain", {"user": "a\0b"}),
        ("plain", {"password": b"a\0b"}),
        ("plain", {"password": b"a\r\nDELE 1"}),
        ("external", {"user": "a\nb"}),
        ("master", {"user": "max*boss"}),
        ("master", {"user": "a\r\nb"}),
        ("master", {"masterform": "plain", "user": "a\0b"}),
        ("xoauth2", {"token": b""}),
        ("xoauth2", {"token": b"a b"}),
        ("xoauth2", {"token": b"a\x01\x01user=max"}),
        ("xoauth2", {"user": "a\x01auth=b"}),
    ],
)
def test_nobody_says_more_than_one_name(login: str, said: dict[str, Any]) -> None:
    """What could end a line, a part, or the user's name in front of the master's, is not sent at all."""
    with pytest.raises(ValueError):
        dialogue(login, **said)


@pytest.mark.parametrize("login", ["plain", "xoauth2", "master"])
def test_a_refusal_shows_no_secret_that_the_backend_repeats(login: str) -> None:
    """Neither as it is, nor in base64."""
    made = dialogue(login, masterform="plain")
    said = made.hear(b"+OK\r\n")
    if login == "xoauth2":
        said = made.hear(b"+ \r\n")
    assert isinstance(said, bytes)
    secret = {"plain": PASSWORD, "xoauth2": TOKEN, "master": MASTERS}[login]
    for repeated in (said.strip(), said.strip()[:60], secret):
        other = dialogue(login, masterform="plain")
        other.hear(b"+OK\r\n")
        if login == "xoauth2":
            other.hear(b"+ \r\n")
        refused = other.hear(b"-ERR what is " + repeated[:400] + b"?\r\n")
        assert isinstance(refused, Rejected)
        assert refused.reply == b"-ERR (not shown: the password is in it)"


# What the machine makes of it


WHERE = {name: like(name) for name in ("user", "plain", "master", "xoauth2")} | {
    "external": like("external", tls="starttls", tlscert="proxy")
}
WRONG = b"-ERR [AUTH] the user name or the password is wrong\r\n"
LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later\r\n"
ASK_POSTMASTER = b"-ERR [SYS/PERM] the mailbox cannot be opened, please ask your postmaster\r\n"


def decided(login: str, *, token: bool = False, vouched: bool = False, **route: Any) -> PureSession:
    """A session that the modules have led to a backend with this login."""
    session = PureSession(rules(backends={**rules().backends, **WHERE}))
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    if token:
        question = session.verbs.asked[0]
        session.machine._secret = None
        session.machine._question = question._replace(token=Token("XOAUTH2", Secret(TOKEN)))
    session.decided(Admitted(Route(login, **route), "m", "m", vouched=vouched))
    return session


@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("login", WHERE)
def test_what_a_backend_is_shown_is_the_users_own_or_ours(login: str, token: bool, vouched: bool) -> None:
    """A password where one is wanted, a token where one is; with master and external, neither is needed."""
    session = decided(login, token=token, vouched=vouched)
    if login in ("master", "external") or (not vouched and token == (login == "xoauth2")):
        assert session.verbs.waits == "connect"
    else:
        assert session.verbs.to_client.endswith(ASK_POSTMASTER)
        assert session.verbs.ending == "no_secret"


def test_a_password_of_a_modules_goes_where_one_is_wanted() -> None:
    """It is said as any other is, by AUTH."""
    session = decided("plain", vouched=True, secret=Secret(b"0urs"), target="joe")
    assert session.backend_says(b"+OK\r\n")[-1] == ("send_backend", b"AUTH PLAIN " + told(b"\0joe\x000urs") + b"\r\n")


@pytest.mark.parametrize("vouched", [False, True])
def test_a_token_of_a_modules_goes_where_one_is_wanted(vouched: bool) -> None:
    """And not the client's, which may be somebody else's who acts for him."""
    session = decided("xoauth2", token=True, vouched=vouched, secret=Secret(b"0urs"), target="joe")
    assert session.backend_says(b"+OK\r\n")[-1] == ("send_backend", b"AUTH XOAUTH2\r\n")
    response = told(b"user=joe\x01auth=Bearer 0urs\x01\x01")
    assert session.backend_says(b"+ \r\n")[-1] == ("send_backend", response + b"\r\n")


@pytest.mark.parametrize(("login", "reply"), [("plain", WRONG), ("master", LATER), ("xoauth2", WRONG)])
def test_a_refusal_is_the_users_only_if_the_secret_was(login: str, reply: bytes) -> None:
    """A backend's -ERR to a master's password blames nobody, and he may come again."""
    for code in (b"[AUTH] ", b""):
        session = decided(login, token=login == "xoauth2")
        session.backend_says(b"+OK\r\n")
        session.backend_says(b"+OK\r\n" if login == "master" else b"+ \r\n" if login == "xoauth2" else b"")
        session.backend_says(b"-ERR " + code + b"no\r\n")
        assert session.verbs.to_client.endswith(reply)


def test_a_backend_without_auth_is_not_the_users_fault_for_long() -> None:
    """Its -ERR to AUTH counts as every refusal that does not say why."""
    session = decided("plain")
    session.backend_says(b"+OK\r\n")
    (left, note, *_) = session.backend_says(b"-ERR unknown command\r\n")
    assert left == ("leave_backend",)
    assert note[1] == "login_failed"


def test_a_name_with_the_separator_in_it_opens_nobodys_mailbox() -> None:
    """ann*x would be somebody else's name in front of the master's."""
    session = decided("master", target="ann*x")
    assert session.verbs.ending == "bad_mailbox"
    assert session.verbs.to_client.endswith(ASK_POSTMASTER)


@pytest.mark.parametrize("login", ["master", "external"])
def test_the_fallback_never_lets_in_without_a_password(login: str) -> None:
    """Nobody has looked at the password of a user whom nobody knows."""
    session = PureSession(rules(backends={**rules().backends, **WHERE}, fallback=login))
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(NobodyKnows())
    assert session.verbs.ending == "no_secret"


# The commands


@pytest.fixture
def console(tmp_path: Path) -> Console:
    made = Console()
    (tmp_path / "master").write_bytes(MASTERS + b"\n")
    made.say("backend conf b host 127.0.0.1 port 1111")
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("login what", "allowed: user, plain, master, external, xoauth2"),
        ("login master", "say `masteruser NAME` and `mastersecret FILE` too"),
        ("login master masteruser boss", "say `mastersecret FILE` too"),
        ('login master masteruser boss mastersecret $DIR/master masterseparator ""', "say `masterseparator TEXT` too"),
        ("login external", "say `tls starttls` or `tls implicit`, and `tlscert NAME`, too"),
        ("login external tls starttls", "`tlscert NAME`, too"),
        ("login external tlscert x", "say `tls starttls` or"),
        ("login plain prot XPOP", "login: XPOP names a mailbox, and no user logs in there; allowed: user"),
        ("mastersecret $DIR/nowhere", "nowhere cannot be read: No such file"),
        ("mastersecret $DIR", "is not a regular file"),
        ("mastersecret s3cret", "allowed: an absolute path"),
        ("backup b", "backup: it is the backend itself"),
        ("health login login plain", "health login: say `healthuser NAME` and `healthsecret FILE` too"),
        ("health greeting prot XPOP", "health: XPOP does not greet; allowed there: off, connect"),
        ("masterform dash", "allowed: separator, plain"),
    ],
)
def test_what_does_not_go_together_is_told(console: Console, tmp_path: Path, words: str, said: str) -> None:
    """Which word, and what is missing; nothing is changed."""
    assert said in refused(console, f"backend conf b {words.replace('$DIR', str(tmp_path))}")


def test_a_secret_is_never_shown(console: Console, tmp_path: Path) -> None:
    """Neither by the commands that show a backend, nor by its text, nor in an error; the path is."""
    path = tmp_path / "master"
    console.say(f"backend conf b login master masteruser boss mastersecret {path}")
    shown = [*console.lines("backend show b"), *console.lines("show config"), repr(console.config)]
    assert MASTERS.decode() not in "\n".join(shown)
    assert any(str(path) in line for line in shown)
    path.chmod(0o666)
    assert "may be written by everybody" in refused(console, f"backend conf b mastersecret {path}")


@pytest.mark.parametrize("way", ["module", "backend", "fallback", "backend is fallback", "backup", "backend is backup"])
def test_nobody_comes_to_a_master_without_a_password(console: Console, tmp_path: Path, way: str) -> None:
    """The module any and the fallback look at none: they and such a backend exclude each other, whoever comes first."""
    master = f"backend conf b login master masteruser boss mastersecret {tmp_path}/master"
    first, second = {
        "module": (master, "pdm add everybody any b"),
        "backend": ("pdm add everybody any b", master),
        "fallback": (master, "set fallback b"),
        "backend is fallback": ("set fallback b", master),
        "backup": (master, "backend conf a backup b"),
        "backend is backup": ("backend conf a backup b", master),
    }[way]
    console.say(first)
    assert "everybody would be let into every mailbox" in refused(console, second)


@pytest.mark.parametrize("module_first", [True, False])
@pytest.mark.parametrize(("prot", "is_open"), [("XPOP", True), ("CXPOP", True), ("POP3", False)])
def test_a_store_without_passwords_behind_any_is_told(
    console: Console, prot: str, is_open: bool, module_first: bool
) -> None:
    """Where a mailbox is named and `any` looks at no password: allowed, since somebody else may; but not silently."""
    lines = ["pdm add everybody any b", f"backend conf b prot {prot}"]
    first, second = lines if module_first else reversed(lines)
    console.say(first)
    said = console.say(second)
    assert isinstance(said, Change)
    assert ("everybody would be let into every mailbox" in said.text) == is_open


def test_a_secret_that_changes_is_read_anew(console: Console, tmp_path: Path) -> None:
    """By `pdm check`, as files of users are; one that cannot be used changes nothing, and is told once."""
    path = tmp_path / "master"
    os.utime(path, (1, 1))
    console.say(f"backend conf b login master masteruser boss mastersecret {path}")
    assert isinstance(aged(console), Reply)
    path.write_bytes(b"another\n")
    change = aged(console)
    assert isinstance(change, Change)
    assert [message.name for message, _fields in change.entries] == ["secret_taken"]
    assert console.config.things["backend"]["b"].mastersecret.octets == b"another"
    path.write_bytes(b"\n")
    change = aged(console)
    assert isinstance(change, Change)
    assert [message.name for message, _fields in change.entries] == ["secret_fault"]
    assert "another" not in repr(change.entries)
    assert console.config.things["backend"]["b"].mastersecret.octets == b"another"
    assert isinstance(aged(console), Reply)


def aged(console: Console) -> Outcome:
    """`pdm check`, when the files have settled."""
    console.known.clear()
    time.sleep(SETTLED_SECONDS + 0.05)
    return console.say("pdm check")
