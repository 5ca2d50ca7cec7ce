"""A real engine, podman, with storage of its own that goes with it; it builds the image from the Containerfile.

The base image is made here, because a registry cannot be reached everywhere: Debian's own packages of the same release
and the same Python, in /usr instead of /usr/local, under the name that the Containerfile asks for. Like the real one it
has Python's headers, and _tkinter, but no Tk. Everything else of the build is as a user's: pip asks its index, with the
certificates that this machine trusts.
"""

import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests.deploy.image import CONTAINER, ROOT, instructions
from tests.patience import patient
from tests.system.site import need

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PACKAGES = "python3-pip,python3-dev,python-is-python3,ca-certificates"
TKINTER_ALONE = (
    'chroot "$1" sh -ec "cd /tmp; apt-get download python{0}-tk; dpkg --unpack --force-depends python{0}-tk_*.deb;'
    ' rm python{0}-tk_*.deb"'
)
STORAGE = """[storage]
driver = "overlay"
graphroot = "{0}/graph"
runroot = "{0}/run"
[storage.options.overlay]
skip_mount_home = "true"
"""
# Limits are below those of any machine: raising them takes a right that root may lack. runc, because crun refuses hosts
# that have both versions of control groups.
CONTAINERS = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{0}/tmp"
"""
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pull", "never")
NAME = "popular:test"


class Engine:
    """Podman. `close` ends its containers and removes all it has stored."""

    def __init__(self) -> None:
        self._podman = need("podman")
        need("runc")
        self._directory = Path(tempfile.mkdtemp(prefix="popular-"))  # short: the engine's sockets are below it
        self._environment = dict(os.environ)
        for name, text in (("STORAGE", STORAGE), ("CONTAINERS", CONTAINERS)):
            path = self._directory / name.lower()
            path.write_text(text.format(self._directory))
            self._environment[f"{name}_CONF" if name == "CONTAINERS" else "CONTAINERS_STORAGE_CONF"] = str(path)

    def close(self) -> None:
        self.run("rm", "--all", "--force", "--time", "0")
        self.run("rmi", "--all", "--force")
        shutil.rmtree(self._directory)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Any command of the engine's."""
        return subprocess.run(
            [self._podman, *words], env=self._environment, capture_output=True, text=True, timeout=patient(300)
        )

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        """A command that may take a while."""
        return subprocess.Popen(
            [self._podman, *words], env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def said(self, *words: str) -> str:
        """What a command says. It has to succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()

    def make_base(self) -> None:
        """The base image. Skips the tests if none of the machine's package sources gives that release now."""
        (tag,) = [rest.partition("=")[2] for word, rest in instructions() if rest.startswith("PYTHON=")]
        version, _slim, suite = tag.split("-")
        mirror = next(filter(lambda uri: _has(uri, suite), package_sources()), None)
        if mirror is None:
            pytest.skip(f"no package source has {suite}")
        tar = self._directory / "base.tar"
        command = [need("mmdebstrap"), "--mode=root", "--variant=apt", f"--include={PACKAGES}"]
        command += [f"--customize-hook={TKINTER_ALONE.format(version)}", suite, str(tar), mirror]
        environment = os.environ | {"TMPDIR": str(self._directory)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patient(300))
        assert done.returncode == 0, done.stderr[-3000:]
        name = instructions()[1][1].partition(" ")[0].replace("${PYTHON}", tag)
        self.said("import", str(tar), name)
        tar.unlink()
        done = self.run("run", "--rm", "--pull=never", name, f"python{version}", "-c", "import _tkinter")
        assert "libtk" in done.stderr

    def build(self) -> None:
        """The image, as the Containerfile says."""
        trust = f"{CERTIFICATES}:{CERTIFICATES}:ro"
        options = ("--format", "docker", "--pull=never", "--network", "host", "--volume", trust, "--tag", NAME)
        pure = ("--build-arg", "POPULAR_PURE=1")  # into the stand-in for the base image no compiler can be installed
        self.said("build", *options, *pure, "--file", str(CONTAINER / "Containerfile"), str(ROOT))


def package_sources() -> list[str]:
    """Where this machine gets Debian's packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
    return list(dict.fromkeys(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))


def _has(uri: str, suite: str) -> bool:
    """Whether the source answers, and has a release of this name."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/dists/{suite}/InRelease", timeout=patient(20)).close()
    except OSError:
        return False
    return True
