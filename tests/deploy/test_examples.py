"""The start configurations that users copy really start a proxy."""

import re
import socket
import ssl
import subprocess
from pathlib import Path

from tests.patience import patient
from tests.system.certificates import Authority
from tests.system.site import PopClient, Proxy, free_port, program, wait_until

ROOT = Path(__file__).parents[2]


def shifted(text: str, directory: Path, port: int) -> str:
    """A configuration, on this test's files and port."""
    (directory / "users").write_text("example:joe:{PLAIN}secret:legacy:joe\n")
    (directory / "masterauth.conf").write_text("")
    text = text.replace("/etc/popular", str(directory)).replace("iface ANY", "iface 127.0.0.1")
    moved, count = re.subn(r"^(vserv conf .*?)port 110\b", rf"\1port {port}", text, flags=re.MULTILINE)
    assert count == 1, "exactly one virtual server, on port 110"
    return moved


def started(text: str, tmp_path: Path, port: int) -> Proxy:
    rc = tmp_path / "pproxy.rc"
    rc.write_text(shifted(text, tmp_path, port))
    return Proxy(tmp_path, options=("-c", str(rc)), workers=1)


def test_example_of_pproxy(tmp_path: Path) -> None:
    """deploy/popular/pproxy.rc is carried out whole, and a user can log in under it."""
    text = (ROOT / "deploy/popular/pproxy.rc").read_text()
    port = free_port()
    with started(text, tmp_path, port) as proxy:
        wait_until(lambda: proxy.said("vserv list").lines == ["main"], "the start configuration is in force")
        options = ("set logfile ", "set workers ")  # of the command line
        commands = [line for line in proxy.said("show config").lines if not line.startswith(options)]
        wanted = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert len(commands) == len(wanted), commands
        with PopClient(port) as client:
            assert client.greeted() == b"+OK POP3 server ready"
            assert client.log_in("joe", "secret").startswith(b"+OK")
            assert client.ask("STAT") == b"+OK 0 0", "the backend is in the state fake"


def test_example_of_pproxy_as_it_stands(tmp_path: Path) -> None:
    """But for the folder of its files, `pproxy --check` finds it good: on all addresses, beside its own backends."""
    (tmp_path / "users").touch()
    (tmp_path / "masterauth.conf").touch()
    rc = tmp_path / "pproxy.rc"
    rc.write_text((ROOT / "deploy/popular/pproxy.rc").read_text().replace("/etc/popular", str(tmp_path)))
    command = [program("pproxy"), "--check", "--rundir", str(tmp_path), "--config", str(rc)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30))
    assert done.returncode == 0, done.stderr


def test_example_in_the_pages(tmp_path: Path) -> None:
    """The first configuration on the page about configuration works, and so does what it says of TLS after it."""
    page = (ROOT / "docs/configuration.md").read_text()
    first, tls = re.findall(r"^```rc\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    with started(first, tmp_path, free_port()) as proxy:
        wait_until(lambda: proxy.said("vserv list").lines == ["main"], "the start configuration is in force")
        assert "state online" in proxy.said("vserv show main").lines[0]
        directory, port = tmp_path / "tls", free_port()
        directory.mkdir()
        authority = Authority()
        authority.issue("localhost").write(directory, "default")
        proxy.said(f"set tlsdir {directory}")
        for line in tls.replace("ANY port 995", f"127.0.0.1 port {port}").splitlines():
            proxy.said(line)
        context = ssl.create_default_context(cadata=authority.pem.decode())
        plain = socket.create_connection(("127.0.0.1", port), timeout=patient(10))
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            assert client.recv(512).startswith(b"+OK")


def test_example_of_pserv(tmp_path: Path) -> None:
    """deploy/popular/pserv.rc is carried out whole, and opens its port."""
    port = free_port()
    text = (ROOT / "deploy/popular/pserv.rc").read_text()
    (tmp_path / "mail").mkdir()
    text = text.replace("/var/spool/popular", str(tmp_path / "mail"))
    moved, count = re.subn(r"^(server conf .*?)port 1100\b", rf"\1port {port}", text, flags=re.MULTILINE)
    assert count == 1, "one server, on the port that pproxy.rc names"
    rc = tmp_path / "pserv.rc"
    rc.write_text(moved)
    with Proxy(tmp_path, options=("-c", str(rc)), workers=1, name="pserv") as store:
        wait_until(lambda: "state online" in store.said("show config").lines[-1], "the start configuration is in force")
        assert store.said("show mailboxdir").lines == [f"mailboxdir {tmp_path / 'mail'}"]
        with PopClient(port) as client:
            client.say(b"joe\r\n-\r\n\r\nSTAT\r\n")
            assert client.line().startswith(b"+OK")
            assert client.line() == b"+OK 0 0"
        assert re.findall(r"trusted (\S+)", text) == ["127.0.0.0/8,::1"], "it says who is let in"
