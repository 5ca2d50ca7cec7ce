"""Mail programs of the distribution log in by each mechanism that they know, with the right secret and a wrong one."""

import base64
import hashlib
import poplib
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from popular.protocol.scram import ScramClient, invented_salt
from tests.patience import patient
from tests.system.certificates import Authority
from tests.system.site import LOOPBACK, Proxy, ScriptedBackend, free_port, need, pop3_server

pytestmark = pytest.mark.clients

PASSWORD, TOKEN = "s3cret", "ey.J0b2-_~+/tok=="
KEYS = (
    "{SCRAM-SHA-256}10000,AAECAwQFBgcICQoLDA0ODxAREhMUFRYX,"
    "pz6Nvq421wqz+5a1+kOi+4wHCmC5hWxUU4SOsbQcHJc=,ZYlEVXpQNS7Rc1n0NqR5vCSq4Tikh9Q2ndMUf6fOenU="
)
"""Keys of PASSWORD."""
_MODULE = """
from popular.pdm.contract import TOKEN, UNKNOWN, Authenticated, Module, Refused, Route


class Bearer(Module):
    blocking = False
    takes = frozenset({TOKEN})

    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, arguments

    def check(self, question):
        if question.token.secret.equals(self.arguments[0].encode()):
            return Authenticated(Route("empty"))
        return Refused(Route("empty"))


open_module = Bearer
"""


class SaslSite(NamedTuple):
    """A proxy with a virtual server in clear and one in TLS; the files for a client in TLS."""

    proxy: Proxy
    clear: int
    tls: int
    xoauth2: int
    """In TLS too, and with nothing else: curl takes OAUTHBEARER wherever it is offered."""
    directory: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SaslSite]:
    """Users in a file with their passwords in clear, tokens by a module of the test's own, certificates of an
    authority of its own; after it an empty mailbox, and for one user a backend that wants his password.
    """
    directory = tmp_path_factory.mktemp("sasl")
    clear, tls, xoauth2 = free_port(), free_port(), free_port()
    authority = Authority()
    authority.write(directory)
    authority.issue("localhost").write(directory, "default")
    authority.issue("ann", client=True).write(directory, "ann")
    (directory / "libpdm_bearer.py").write_text(_MODULE)
    (directory / "users").write_text(
        f"default:ann:{{PLAIN}}{PASSWORD}:empty:\ndefault:behind:{{PLAIN}}{PASSWORD}:store:\n"
    )
    (directory / "keys").write_text(f"default:bea:{KEYS}:empty:\n")
    ways = "user,plain,login,scram-sha-256,cram-md5,xoauth2,oauthbearer,external"
    with ScriptedBackend(pop3_server([], PASSWORD.encode())) as backend:
        rc = [
            "backend conf empty host 127.0.0.1 port 1 prot XPOP state fake",
            f"backend conf store host {LOOPBACK} port {backend.port} state online",
            f"pdm add users passwd {directory}/users",
            f"pdm add keys passwd {directory}/keys",
            f"set pdmdir {directory}",
            f"pdm add tokens bearer {TOKEN}",
            f"set tlsdir {directory}",
            f"vserv conf clear iface {LOOPBACK} port {clear} apop on mechanisms {ways} state online",
            f"vserv conf xoauth2 iface {LOOPBACK} port {xoauth2} prot POP3s mechanisms xoauth2 state online",
            f"vserv conf tls iface {LOOPBACK} port {tls} prot POP3s mechanisms {ways} "
            f"clientcert optional clientca {directory}/ca.pem state online",
        ]
        with Proxy(directory, rc, workers=1) as proxy:
            yield SaslSite(proxy, clear, tls, xoauth2, directory=directory)


def _curl(site: SaslSite, way: str, secret: str) -> Sequence[str | Path]:
    in_tls = way in ("XOAUTH2", "OAUTHBEARER", "EXTERNAL")
    port = site.xoauth2 if way == "XOAUTH2" else site.tls
    url = f"pop3s://localhost:{port}/" if in_tls else f"pop3://{LOOPBACK}:{site.clear}/"
    command: list[str | Path] = [need("curl"), "-q", "-sS"]
    command += ["--cacert", site.directory / "ca.pem", "--login-options", f"AUTH={way}", url]
    if way == "EXTERNAL":
        cert = site.directory / "ann.pem"
        return [*command, "-u", f"{'ann' if secret == PASSWORD else 'bob'}:", "--cert", cert, "--key", _key(cert)]
    if in_tls:
        return [*command, "-u", "ann:", "--oauth2-bearer", secret]
    return [*command, "-u", f"ann:{secret}"]


def _key(certificate: Path) -> Path:
    return certificate.with_suffix(".key") if certificate.with_suffix(".key").exists() else certificate


def _curl_at_once(site: SaslSite, way: str, secret: str) -> Sequence[str | Path]:
    return [*_curl(site, way, secret), "--sasl-ir"]


def _mpop(site: SaslSite, way: str, secret: str) -> Sequence[str | Path]:
    in_tls = way in ("xoauth2", "oauthbearer", "external")
    security = f"tls on\ntls_starttls off\ntls_trust_file {site.directory}/ca.pem" if in_tls else "tls off"
    user = "ann"
    if way == "scram-sha-256 by keys":
        way, user = "scram-sha-256", "bea"
    if way == "external":
        cert = site.directory / "ann.pem"
        security += f"\ntls_cert_file {cert}\ntls_key_file {_key(cert)}"
        user = "ann" if secret == PASSWORD else "bob"
    rc = site.directory / "mpoprc"
    rc.write_text(
        f"account default\nhost {'localhost' if in_tls else LOOPBACK}\nport {site.tls if in_tls else site.clear}\n"
        f"{security}\nauth {way}\nuser {user}\npassword {secret}\n"
        f"uidls_file {site.directory}/uidls\ndelivery mda cat\n"
    )
    rc.chmod(0o600)
    return [need("mpop"), "-C", rc, "--quiet"]


def _fetchmail(site: SaslSite, way: str, secret: str) -> Sequence[str | Path]:
    rc = site.directory / "fetchmailrc"
    protocol = "apop" if way == "apop" else f"pop3 auth {way}"
    rc.write_text(
        f'set no bouncemail\npoll "{LOOPBACK}" protocol {protocol} port {site.clear}\n'
        f'user "ann" password "{secret}" sslproto "" keep mda "cat"\n'
    )
    rc.chmod(0o600)
    return [need("fetchmail"), "-f", rc, "--nosyslog", "--pidfile", site.directory / "pid"]


def _getmail(site: SaslSite, way: str, secret: str) -> Sequence[str | Path]:
    rc = site.directory / "getmailrc"
    token = way == "use_xoauth2"
    kind, host, port = ("SSL", "localhost", site.tls) if token else ("", LOOPBACK, site.clear)
    shown = f'password_command = ("/bin/echo", "{secret}")' if token else f"password = {secret}"
    rc.write_text(
        f"[retriever]\ntype = SimplePOP3{kind}Retriever\nserver = {host}\nport = {port}\nusername = ann\n{shown}\n"
        f"{way} = true\n{f'ca_certs = {site.directory}/ca.pem' if token else ''}\n"
        f"[destination]\ntype = MDA_external\npath = /bin/cat\nallow_root_commands = true\n[options]\nverbose = 0\n"
    )
    return [need("getmail"), "--getmaildir", site.directory, "--rcfile", rc]


def _snail(site: SaslSite, way: str, secret: str) -> Sequence[str | Path]:
    """What it calls oauthbearer is XOAUTH2."""
    in_tls = way in ("xoauth2", "external")
    host = f"localhost:{site.tls}" if in_tls else f"{LOOPBACK}:{site.clear}"
    options = {"v15-compat": "yes", "pop3-auth": {"apop": "plain", "xoauth2": "oauthbearer"}.get(way, way)}
    if in_tls:
        options |= {"tls-ca-file": str(site.directory / "ca.pem"), "tls-ca-no-defaults": "", "tls-verify": "strict"}
    user = "ann"
    if way == "external":
        cert = site.directory / "ann.pem"
        options |= {"tls-config-pairs": f"Certificate={cert},PrivateKey={_key(cert)}"}
        user = "ann" if secret == PASSWORD else "bob"
    settings = [word for name, value in options.items() for word in ("-S", f"{name}={value}" if value else name)]
    account = user if way == "external" else f"{user}:{quote(secret, safe='')}"
    return [need("s-nail"), "-:/", "-R", *settings, "-Y", "x", "-f", f"pop3{'s' if in_tls else ''}://{account}@{host}"]


_MPOP = ("plain", "login", "scram-sha-256", "cram-md5", "apop", "xoauth2", "oauthbearer", "external")
Command = Callable[[SaslSite, str, str], Sequence[str | Path]]
MATRIX: dict[tuple[str, str], Command] = {
    **{("curl", way): _curl for way in ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "+APOP")},
    **{("curl at once", way): _curl_at_once for way in ("LOGIN", "OAUTHBEARER")},
    **{("mpop", way): _mpop for way in (*_MPOP, "scram-sha-256 by keys")},
    **{("fetchmail", way): _fetchmail for way in ("cram-md5", "apop")},
    **{("s-nail", way): _snail for way in ("apop", "xoauth2", "external")},
    **{("getmail", way): _getmail for way in ("use_apop",)},
}
_NO_MAIL = {"fetchmail": 1}


def _mechanism(way: str) -> str:
    return way.partition(" ")[0].removeprefix("use_").removeprefix("+").upper()


def _logins(site: SaslSite) -> dict[str, int]:
    counted: Any = site.proxy.state().counters()["sasl_logins"]
    return dict(counted)


@pytest.mark.parametrize(("client", "way"), MATRIX, ids=[" ".join(pair) for pair in MATRIX])
def test_a_client_logs_in(site: SaslSite, client: str, way: str) -> None:
    """With the right secret it is in, by this mechanism and no other; with a wrong one it is not, and says so."""
    command, mechanism = MATRIX[client, way], _mechanism(way)
    secret = TOKEN if "OAUTH" in mechanism else PASSWORD
    before = _logins(site)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(site.directory), "LC_ALL": "C"}
    for said, good in ((secret, True), ("wr0ng", False)):
        words = [str(word) for word in command(site, way, said)]
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=patient(30), check=False
        )
        text = (done.stdout + done.stderr).decode(errors="replace")
        assert (done.returncode == _NO_MAIL.get(client, 0)) is good or (client == "getmail" and not good), text
        site.proxy.wait_until_quiet()
        after = _logins(site)
        assert after == before | {mechanism: before[mechanism] + 1}, text


def test_by_an_answer_to_a_challenge_to_a_backend_that_wants_the_password(site: SaslSite) -> None:
    """Whoever has it is known to have it, so the backend is told it."""
    client = poplib.POP3(LOOPBACK, site.clear, timeout=patient(5))
    assert client.apop("behind", PASSWORD).startswith(b"+OK")
    assert client.stat() == (0, 0)
    client.quit()
    other = poplib.POP3(LOOPBACK, site.clear, timeout=patient(5))
    with pytest.raises(poplib.error_proto, match="AUTH"):
        other.apop("behind", "wr0ng")
    other.quit()


def _salt_shown(site: SaslSite, user: str) -> bytes:
    client = poplib.POP3(LOOPBACK, site.clear, timeout=patient(5))
    said = base64.b64encode(ScramClient(user, "x", nonce="nonce").first()).decode()
    challenge = base64.b64decode(client._shortcmd(f"AUTH SCRAM-SHA-256 {said}").removeprefix(b"+ "))  # type: ignore[attr-defined]
    client.close()
    return dict(part.split(b"=", 1) for part in challenge.split(b","))[b"s"]


def test_the_salt_of_who_does_not_exist(site: SaslSite) -> None:
    """One name has the same one each time; with a secret of the site, on each proxy that has it."""
    of_this_run = {_salt_shown(site, "nobody") for _ in range(2)}
    assert len(of_this_run | {_salt_shown(site, "ann")}) == 2, "hers is made in the same way"
    (site.directory / "salts").write_text("a secret of the site\n")
    site.proxy.said(f"set saltfile {site.directory}/salts")
    key = hashlib.blake2b(b"a secret of the site", person=b"salts").digest()
    for user in ("nobody", "ann"):
        salt = base64.b64decode(_salt_shown(site, user))
        assert salt == invented_salt(key, "default", user)[: len(salt)]
    assert not site.proxy.control(f"set saltfile {site.directory}/none").ok
    site.proxy.said('set saltfile ""')
    assert {_salt_shown(site, "nobody")} == of_this_run


def test_a_long_token(site: SaslSite) -> None:
    """60 kB in one line of an exchange; what is too long ends the session."""
    context = ssl.create_default_context(cafile=str(site.directory / "ca.pem"))
    for octets, answer in ((45_000, b"+ "), (60_000, b"-ERR the line is too long")):
        client = poplib.POP3_SSL("localhost", site.tls, context=context, timeout=patient(5))
        client._putcmd("AUTH XOAUTH2")  # type: ignore[attr-defined]
        assert client.file.readline() == b"+ \r\n"
        said = base64.b64encode(b"user=ann\x01auth=Bearer " + b"t" * octets + b"\x01\x01")
        client.sock.sendall(said + b"\r\n")
        assert client.file.readline().startswith(answer)
        client.close()
    site.proxy.wait_until_quiet()
