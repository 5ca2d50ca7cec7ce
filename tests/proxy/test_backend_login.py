"""The login dialogue with a POP3 backend as a machine, with STLS and XCLIENT in front of it."""

from collections.abc import Sequence

import pytest

from popular.proxy.session.backend.backend_login import (
    START_TLS,
    Broken,
    LoggedIn,
    Pop3Login,
    Progress,
    Rejected,
    StartTls,
    XpopLogin,
    xclient,
)

XCLIENT = b"XCLIENT ADDR=192.0.2.1 PORT=4711 SESSION=p01.1.2 TTL=7"


def heard(login: Pop3Login, *lines: bytes) -> Progress:
    """What comes of the last of these lines; TLS stands as soon as it is asked for."""
    progress: Progress = None
    for line in lines:
        progress = login.hear(line + b"\r\n")
        if isinstance(progress, StartTls):
            progress = login.tls_up()
    return progress


@pytest.mark.parametrize(
    ("stls", "client", "said"),
    [
        (False, b"", [b"USER ann", b"PASS secret"]),
        (True, b"", [b"STLS", b"USER ann", b"PASS secret"]),
        (False, XCLIENT, [XCLIENT, b"USER ann", b"PASS secret"]),
        (True, XCLIENT, [b"STLS", XCLIENT, b"USER ann", b"PASS secret"]),
    ],
)
def test_what_is_said_in_which_order(stls: bool, client: bytes, said: Sequence[bytes]) -> None:
    """STLS first, then XCLIENT, then the login; what comes after the last reply is the client's."""
    login = Pop3Login(b"ann", b"secret", stls=stls, xclient=client)
    assert [heard(login, b"+OK [XCLIENT]") for _ in said] == [line + b"\r\n" for line in said]
    assert login.hear(b"+OK 3 messages\r\n+OK more") == LoggedIn(b"+OK 3 messages", b"+OK more")


@pytest.mark.parametrize("replies", [[b"+OK hi\r\n+OK STLS\r\n"], [b"+OK hi\r\n", b"+OK go\r\n+OK user\r\n"]])
def test_nothing_may_stand_behind_a_reply_before_tls(replies: Sequence[bytes]) -> None:
    """What is injected after the greeting or after +OK to STLS ends the attempt, whole line or not."""
    for injected in (b"", b"+", b"+OK"):
        login = Pop3Login(b"ann", b"secret", stls=True)
        progress = [login.hear(reply if reply != replies[-1] else reply + injected) for reply in replies][-1]
        assert isinstance(progress, Broken)
        assert progress.reason.startswith("more than one reply while ")


def test_the_login_waits_for_tls() -> None:
    """After +OK to STLS nothing is said but the handshake."""
    login = Pop3Login(b"ann", b"secret", stls=True)
    assert login.hear(b"+OK\r\n") == b"STLS\r\n"
    assert login.hear(b"+OK\r\n") is START_TLS
    assert login.tls_up() == b"USER ann\r\n"


def test_refusals_name_what_was_refused() -> None:
    """No STLS and no XCLIENT are faults of the backend, not of the user; a wrong password is the user's."""
    refusal = b"-ERR [AUTH] unknown command"
    assert heard(Pop3Login(b"ann", b"x", stls=True), b"+OK", refusal) == Broken(
        "it offers no STLS: -ERR [AUTH] unknown command", "tls"
    )
    progress = heard(Pop3Login(b"ann", b"x", stls=True, xclient=XCLIENT), b"+OK [XCLIENT]", b"+OK", refusal)
    assert isinstance(progress, Broken)
    assert progress.reason.endswith("login_trusted_networks?): -ERR [AUTH] unknown command")
    for stls in (False, True):
        progress = heard(Pop3Login(b"ann", b"x", stls=stls, xclient=XCLIENT), b"+OK not for you")
        assert isinstance(progress, Broken)
        assert progress.reason.endswith("login_trusted_networks?): +OK not for you")
    for before in (0, 1, 2):
        login = Pop3Login(b"ann", b"x", stls=before > 0, xclient=XCLIENT if before > 1 else b"")
        oks = [b"+OK [XCLIENT]"] * (before + 1)
        assert heard(login, *oks, refusal) == Rejected(
            refusal, b"AUTH", "sending the user name", of_login=True, word="user"
        )
    assert heard(Pop3Login(b"ann", b"x", stls=True), refusal) == Rejected(
        refusal, b"AUTH", "reading the greeting", of_login=False, word="greeting"
    )


def test_xclient_holds_nothing_that_could_end_it() -> None:
    """Blanks, line ends and everything else beyond printable ASCII become underscores; addresses stay."""
    assert xclient("192.0.2.1", 4711, "p01.1.2") == XCLIENT
    assert (
        xclient("2001:db8::1", 1, "a b\r\nUSER x\0é") == b"XCLIENT ADDR=2001:db8::1 PORT=1 SESSION=a_b__USER_x__ TTL=7"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"+ok", "it said: +ok"),
        (b"", "it said an empty line"),
        (b"\x1b[2J\xff", "it said: \\x1b[2J\\xff"),
        (b"x" * 100, f"it said: {'x' * 60} …"),
    ],
)
def test_what_was_heard_in_place_of_a_reply_is_told(line: bytes, reason: str) -> None:
    """Some of it, and printable, as long as no password was said; then nothing: it may be in what is heard."""
    for oks in ([], [b"+OK"]):
        progress = heard(Pop3Login(b"ann", b"secret"), *oks, line)
        assert isinstance(progress, Broken)
        assert progress.reason == reason
    for ahead, before in ((False, 2), (True, 1)):
        progress = heard(Pop3Login(b"ann", b"secret", ahead), *[b"+OK"] * before, line)
        assert progress == Broken("no proper reply", "user" if ahead else "password")


def test_what_is_no_line_is_told_by_its_kind() -> None:
    """At any step: none of its octets is shown."""
    for octets, reason in ((b"+OK \0\r\n", "it sent a NUL"), (b"+OK " + b"x" * 508, "a line of more than 512 octets")):
        for login, word in ((Pop3Login(b"ann", b"x"), "greeting"), (XpopLogin("ann", "p.1.2", ""), "mailbox")):
            assert login.hear(octets) == Broken(reason, word)
