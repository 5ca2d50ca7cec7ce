"""How pproxy logs in at backends, with a real Dovecot that has a master user and asks an issuer about tokens."""

import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from popular.pdm.contract import Secret, Token
from popular.proxy.session.backend.backend_auth import Credentials, login_for
from popular.proxy.session.backend.backend_login import LoggedIn, Rejected
from popular.proxy.settings.backend import XOAUTH2
from tests.issuer import Issuer
from tests.proxy.session_rules import backend
from tests.system.certificates import Authority
from tests.system.dovecot import Dovecot
from tests.system.site import (
    LOOPBACK,
    PATIENCE,
    Conversation,
    Peer,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    pop3_server,
    wait_until,
)

OWN, MASTERS, TOKEN = "own-pass-4711", "master-pass-4711", "token-4711" * 20
FORMS = {
    "XOAUTH2": "user=ann\x01auth=Bearer %s\x01\x01",
    "OAUTHBEARER": "n,a=ann,\x01host=x\x01port=110\x01auth=Bearer %s\x01\x01",
}
MAIL = b"Subject: hello\n\nann's\n"

_EXTRA = """\
auth_mechanisms = plain login xoauth2 oauthbearer
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/masters
  master = yes
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/oauth2
}}
"""
_OAUTH2 = """\
introspection_mode = post
introspection_url = {url}/introspect
force_introspection = yes
username_attribute = username
active_attribute = active
active_value = true
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        made.opaque[TOKEN] = {"username": "ann", "exp": 4e9}
        yield made


@pytest.fixture(scope="module")
def dovecot(issuer: Issuer) -> Iterator[Dovecot]:
    url = issuer.url.replace("//", f"//{issuer.client_id}:{issuer.client_secret}@")
    files: dict[str, Any] = {"masters": f"boss:{{PLAIN}}{MASTERS}\n", "oauth2": _OAUTH2.format(url=url)}
    with Dovecot(extra=_EXTRA, **files) as made:
        made.add_user("ann", OWN, [MAIL])
        yield made


def test_each_login_opens_the_users_mailbox(dovecot: Dovecot, issuer: Issuer, tmp_path: Path) -> None:
    """With the user's password by AUTH PLAIN, and without it as the master user in both forms; a wrong password of ours
    is nobody's fault; no secret is in the log, whatever is logged beside passwords. A token that a
    client shows, and the issuer knows, is passed on to Dovecot, or stands for the user where the master logs in.
    """
    users, secret = tmp_path / "users", tmp_path / "secret"
    users.write_text("default:ann:{PLAIN}proxys:b:\ndefault:ann*x:{PLAIN}proxys:b:\n")
    users.chmod(0o600)
    secret.write_text(MASTERS + "\n")
    secret.chmod(0o600)
    conf = f"backend conf b host {LOOPBACK} port {dovecot.port} state online"
    port, tls_port = free_port(), free_port()
    Authority("The proxy's").issue("proxy.example.org").write(tmp_path, "default")
    rc = [conf, f"set tlsdir {tmp_path}", f"vserv conf s iface {LOOPBACK} port {tls_port} prot POP3s state online"]
    rc += [f"pdm add users passwd {users}", "debug +POP,NET"]
    rc += ["set pdmwatch 1s", f"vserv conf v iface {LOOPBACK} port {port} state online"]
    with Proxy(tmp_path, rc) as proxy:

        def logs_in(user: str = "ann", password: str = "proxys") -> bytes:
            with PopClient(port) as client:
                answer = client.log_in(user, password)
                if answer.startswith(b"+OK"):
                    assert client.retrieve(1) == MAIL.replace(b"\n", b"\r\n")
                    client.ask("QUIT")
                return answer

        assert logs_in().startswith(b"-ERR [AUTH]")
        master = f"login master masteruser boss mastersecret {secret}"
        for words in (master, f"{master} masterform plain"):
            assert proxy.said(f"backend conf b {words}").ok
            for pipelining in ("off", "on"):
                assert proxy.said(f"backend conf b pipelining {pipelining}").ok
                assert logs_in().startswith(b"+OK"), words
                assert logs_in("ann", "wrong").startswith(b"-ERR [AUTH]")
        assert proxy.said("backend conf b masterform separator").ok
        assert logs_in("ann*x").startswith(b"-ERR [SYS/PERM]")
        secret.write_text("another\n")
        wait_until(lambda: proxy.log("secret_taken"), "the new secret is read")
        assert logs_in().startswith(b"-ERR [SYS/TEMP]")
        (failed,) = proxy.log("backend_failed")
        assert failed.fields["reason"].startswith("-ERR [AUTH]")
        secret.write_text(MASTERS + "\n")
        assert proxy.said(f"backend conf b mastersecret {secret}").ok
        assert logs_in().startswith(b"+OK")
        users.write_text(f"default:ann:{{PLAIN}}{OWN}:b:\n")
        for words in ("login plain", "login user"):
            assert proxy.said(f"backend conf b {words}").ok
            assert proxy.said("pdm reload users").ok
            assert logs_in("ann", OWN).startswith(b"+OK"), words
        idsecret = tmp_path / "idsecret"
        idsecret.write_text(issuer.client_secret + "\n")
        asks = f"introspect {issuer.url}/introspect clientid {issuer.client_id} passwordfile {idsecret}"
        assert proxy.said(f"pdm add tokens oauth2 {asks} backend b").ok
        for words in ("login xoauth2", f"{master} masterform plain"):
            assert proxy.said(f"backend conf b {words}").ok
            for mechanism, form in FORMS.items():
                with in_tls(tls_port) as client:
                    assert client.ask(f"AUTH {mechanism}") == b"+ "
                    answer = client.ask(b64encode((form % TOKEN).encode()).decode())
                    assert answer.startswith(b"+OK"), (words, mechanism, answer)
                    assert client.retrieve(1) == MAIL.replace(b"\n", b"\r\n")
        shown = "\n".join([*proxy.said("show config").lines, str(proxy.json("backend show b"))])
        log = proxy.logfile.read_text()
    secrets = [OWN, MASTERS, "another", TOKEN, issuer.client_secret]
    secrets += [b64encode((form % TOKEN).encode()).decode()[:24] for form in FORMS.values()]
    for text in (shown, log):
        assert [word for word in secrets if word in text] == []
    assert "AUTH PLAIN ****" in log


def in_tls(port: int) -> Conversation:
    """Tokens are never offered in clear."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Conversation(context.wrap_socket(socket.create_connection((LOOPBACK, port), PATIENCE)))


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_is_taken_by_dovecot(dovecot: Dovecot, mechanism: str) -> None:
    """As it is passed on; another one is refused after an explanation."""
    where = replace(backend("pop"), login=XOAUTH2)
    for token, came in ((TOKEN, LoggedIn), ("other", Rejected)):
        shown = Credentials("ann", None, Token(mechanism, Secret(token.encode())))
        login = login_for(where, shown, xclient=b"", ahead=False, offered=frozenset())
        with socket.create_connection((LOOPBACK, dovecot.port), PATIENCE) as connection:
            progress = login.hear(connection.recv(4096))
            while isinstance(progress, bytes):
                connection.sendall(progress)
                progress = login.hear(connection.recv(4096))
        assert isinstance(progress, came), progress
        if isinstance(progress, Rejected):
            assert progress.of_login


def test_a_user_who_is_referred_is_logged_in_there(tmp_path: Path) -> None:
    """Where that is allowed, as Dovecot 2.4 says it; else he hears that it is not his fault."""
    port = free_port()
    with ScriptedBackend(pop3_server([MAIL], OWN.encode())) as other:

        def refers(peer: Peer) -> None:
            peer.say(b"+OK ready\r\n")
            peer.line()
            peer.say(b"+OK\r\n")
            assert peer.line() == b"PASS " + OWN.encode()
            peer.say(b"-ERR [REFERRAL/joe@%b:%d] Try this server instead.\r\n" % (LOOPBACK.encode(), other.port))
            peer.rest()

        with ScriptedBackend(refers) as first:
            rc = [f"backend conf b host {LOOPBACK} port {first.port} state online pipelining off", "pdm add all any b"]
            rc += [f"vserv conf v iface {LOOPBACK} port {port} state online"]
            with Proxy(tmp_path, rc) as proxy:

                def logs_in() -> bytes:
                    with PopClient(port) as client:
                        return client.log_in("ann", OWN)

                assert logs_in().startswith(b"-ERR [SYS/TEMP]")
                (failed,) = proxy.log("backend_failed")
                assert failed.fields["reason"].startswith(f"it refers the user to {LOOPBACK} port {other.port}, where")
                assert proxy.said(f"backend conf b referrals {LOOPBACK}:{other.port}").ok
                assert logs_in() == b"+OK logged in"
                assert proxy.log("referred")[-1].fields["to"] == f"{LOOPBACK} port {other.port}"
