"""The Debian package of `make deb`: installed into a root of its own, used as by somebody new to it, and purged."""

import os
import poplib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.version import VERSION
from tests.deploy.commands import COMMANDS
from tests.deploy.engine import package_sources
from tests.patience import patient
from tests.system.site import need
from tests.system.test_demo import Demo

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "deploy/debian"
UNITS = sorted(path.name for kind in ("service", "timer") for path in (ROOT / "deploy/systemd").glob(f"*.{kind}"))
MINUTES = patient(300)


def test_its_version_is_ours() -> None:
    """Debian sorts `~` before everything, so that 2.0.0~dev0 is older than 2.0.0."""
    first = (DEBIAN / "changelog").read_text().partition("\n")[0]
    assert f"({VERSION.replace('.dev', '~dev')})" in first


class Root:
    """A small Debian in a directory, with what the package depends on. `run` runs a command in it, as root."""

    def __init__(self, directory: Path, packages: list[str]) -> None:
        self.path = directory / "root"
        (codename,) = re.findall(r"^VERSION_CODENAME=(.+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
        command = [need("mmdebstrap"), "--mode=root", "--variant=minbase", f"--include={','.join(packages)}"]
        command += [codename, str(self.path), package_sources()[0]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MINUTES)
        assert done.returncode == 0, done.stderr[-3000:]

    def wrapped(self, *words: str, user: int = 0) -> list[str]:
        """A command line for here that runs this one in there."""
        wrap = [need("bwrap"), "--bind", str(self.path), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        wrap += ["--die-with-parent", "--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin"]
        wrap += ["--setenv", "HOME", "/tmp", "--chdir", "/tmp"]
        wrap += ["--unshare-user", "--uid", str(user), "--gid", str(user)] if user else []
        return [*wrap, "--", *words]

    def run(self, *words: str) -> str:
        """What it says; it has to succeed."""
        done = subprocess.run(self.wrapped(*words), capture_output=True, text=True, timeout=MINUTES)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def dpkg(self, *words: str) -> str:
        """dpkg of that Debian, with all of root's rights: it makes users, and gives them files."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        command = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.path / 'proc'}"]
        command += ["chroot", str(self.path), "dpkg", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=MINUTES)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def files(self) -> set[str]:
        """All that is there, but for what dpkg and systemd write down for themselves."""
        own = re.compile(r"/var/(lib|cache|log)/|/run/|/etc/[^/]*-$")
        found = {str(path).removeprefix(str(self.path)) for path in self.path.rglob("*")}
        return {path for path in found if not own.match(path)}


@pytest.fixture(scope="module")
def package() -> Path:
    """Made by `make deb`."""
    found = sorted((ROOT / "build/deb").glob("*.deb"))
    assert found, "make deb"
    return found[-1]


@pytest.fixture(scope="module")
def root(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """With what it depends on, the first of each choice; without the package."""
    if os.getuid() != 0:
        pytest.skip("a root is made by root")
    command = ["dpkg-deb", "--field", str(package), "Depends"]
    depends = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    root = Root(tmp_path_factory.mktemp("debian"), re.findall(r"(?:^|, )([a-z0-9.+-]+)", depends))
    try:
        yield root
    finally:
        shutil.rmtree(root.path)


@pytest.mark.nightly
@pytest.mark.timeout(2 * MINUTES)
def test_installed_used_and_purged(root: Root, package: Path) -> None:
    """It enables nothing, commands and units are as they should be, the demo gives mail, and a purge leaves nothing."""
    before = root.files()
    shutil.copy(package, root.path / "package.deb")
    root.dpkg("--install", "/package.deb")
    (root.path / "package.deb").unlink()

    for name in COMMANDS:
        assert root.run(name, "--version").startswith(f"{name} {VERSION}")
    assert "compiled by" in root.run("pproxy", "--version")
    assert root.run("systemd-analyze", "verify", "--man=no", *(f"/lib/systemd/system/{unit}" for unit in UNITS)) == ""
    assert [path for path in (root.path / "etc/systemd/system").rglob("*") if path.name in UNITS] == []
    modes = root.run("stat", "--format", "%n %a %U:%G", "/etc/popular", "/etc/popular/users", "/var/spool/popular")
    assert modes.splitlines() == [
        "/etc/popular 750 root:popular",
        "/etc/popular/users 640 root:popular",
        "/var/spool/popular 700 popular:popular",
    ]
    assert "/etc/popular/pproxy.rc" in root.run("dpkg-query", "--showformat", "${Conffiles}", "--show", "popular-pop3")
    root.run("pproxy", "--check", "--rundir", "/tmp/run", "--logfile", "-", "--config", "/etc/popular/pproxy.rc")
    _reads_mail(root)

    root.dpkg("--purge", "popular-pop3")
    assert sorted(root.files() - before) == []
    assert sorted(before - root.files()) == []
    assert "popular" not in (root.path / "etc/passwd").read_text()


def _reads_mail(root: Root) -> None:
    """As any user, from the demo."""
    wrap = root.wrapped("popular-demo", user=65534)
    with Demo(Path("/tmp/demo"), command=wrap) as demo:
        demo.wait_until_ready()
        client = poplib.POP3("127.0.0.1", demo.port, timeout=patient(20))
        client.user("joe")
        client.pass_("joe")
        assert client.stat()[0] > 0
        client.quit()
