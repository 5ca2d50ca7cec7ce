"""The three forms of the package, built and installed as a user does it: each runs the demo."""

import os
import poplib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import compiled
from tests.patience import patient
from tests.system.test_demo import Demo

ROOT = Path(__file__).parents[2]
PARTS = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    *compiled.PACKAGES,
    "metrics",
    "deploy/man",
    "deploy/completions",
)
SHARED = ("man/man8/pproxy.8", "bash-completion/completions/pproxy", "zsh/site-functions/_pproxy")
MINUTES = patient(900)


def run(*words: str | Path, wish: str | None = None, where: Path = ROOT) -> str:
    """What a command says; it has to succeed. `wish`: POPULAR_PURE."""
    environment = {name: value for name, value in os.environ.items() if name != "POPULAR_PURE"}
    if wish is not None:
        environment["POPULAR_PURE"] = wish
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=MINUTES)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked; it is made of a copy, where nothing was built before."""
    place = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so", "compiled.*.txt")
            shutil.copytree(ROOT / part, place / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, place)
    run(sys.executable, "setup.py", "--quiet", "sdist", wish=compiled.PURE, where=place)
    (packed,) = (place / "dist").glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        tar.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return unpacked


@pytest.fixture(params=["compiled", "pure", pytest.param("source", marks=pytest.mark.nightly)])
def form(request: pytest.FixtureRequest) -> str:
    """Two wheels, and the source distribution itself."""
    return str(request.param)


@pytest.fixture
def installed(form: str, sdist: Path, tmp_path: Path) -> Iterator[Path]:
    """A fresh environment with nothing in it but this form and what it needs."""
    wish = compiled.PURE if form == "pure" else None if compiled.hindrance() else compiled.ALWAYS
    wheels = tmp_path / "wheels"
    what: Path = sdist
    if form != "source":
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, sdist, wish=wish)
        (what,) = wheels.iterdir()
        assert what.name.endswith("-py3-none-any.whl") == (wish != compiled.ALWAYS)
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin/python", "-m", "pip", "install", "--quiet", what, wish=wish)
    yield environment / "bin"
    shutil.rmtree(environment)


@pytest.mark.timeout(3 * MINUTES)
def test_each_form_installed_runs_the_demo(form: str, installed: Path, tmp_path: Path) -> None:
    """It says which form it is, has manual pages and completions, and mail can be read through it."""
    assert [name for name in SHARED if not (installed.parent / "share" / name).is_file()] == []
    told = run(installed / "pproxy", "--version", where=tmp_path)
    expected = "pure Python" if form == "pure" or compiled.hindrance() else "compiled by"
    assert expected in told
    with Demo(tmp_path / "demo", command=[str(installed / "popular-demo")]) as demo:
        demo.wait_until_ready()
        client = poplib.POP3("127.0.0.1", demo.port, timeout=patient(20))
        assert b"+OK" in client.getwelcome()
        client.user("joe")
        client.pass_("joe")
        assert client.stat()[0] > 0
        client.quit()
        assert demo.end() == 0
