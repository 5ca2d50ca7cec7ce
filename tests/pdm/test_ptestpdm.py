"""ptestpdm as a command: its output, its exit status, and what it never prints."""

import subprocess
import sys

import pytest

from tests.patience import patient

pytestmark = pytest.mark.processes

CANARY = "canary 4711"


@pytest.fixture
def ptestpdm(tmp_path):
    """Runs the command with these two files."""

    def run(commands, data, *options):
        (tmp_path / "commands").write_text(commands)
        (tmp_path / "data").write_text(data)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "popular.pdm.ptestpdm", *options, "commands", "data"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=patient(60),
        )
        assert CANARY not in done.stdout + done.stderr
        assert "4711" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    run.directory = tmp_path  # type: ignore[attr-defined]
    return run


@pytest.fixture
def site(tmp_path):
    """A user file and a master file, and the command file that names them."""
    (tmp_path / "our users").write_text(f"default:joe:{{PLAIN}}{CANARY}:b1:3/2d/joe\ndefault:ann:!:b2::{CANARY}\n")
    (tmp_path / "master").write_text(f"192.0.2.7:default:{{PLAIN}}open {CANARY}\n")
    return '# a small site\n\nmain passwd "our users"\nm master master\n'


def test_each_login_has_its_line(ptestpdm, site):
    """What the proxy would do with it, and why."""
    done = ptestpdm(
        site,
        "# logins\n\n"
        f"127.0.0.1 POP3 default joe {CANARY}\n"
        f"127.0.0.1 POP3 default joe wrong\n"
        f"192.0.2.7 POP3s default joe open {CANARY}\n"
        f"192.0.2.7 POP3s default ann open {CANARY}\n"
        f"127.0.0.1 POP3 other joe {CANARY}\n",
    )
    joes = "backend=b1 target='3/2d/joe' secret=own"
    anns = "backend=b2 target=own secret=set"
    assert done.stdout.splitlines() == [
        f"127.0.0.1 POP3 default 'joe': admitted {joes} flags=- identified_by=main authenticated_by=main",
        "127.0.0.1 POP3 default 'joe': refused identified_by=main",
        f"192.0.2.7 POP3s default 'joe': admitted {joes} flags=M identified_by=main authenticated_by=m",
        f"192.0.2.7 POP3s default 'ann': admitted {anns} flags=M identified_by=main authenticated_by=m",
        "127.0.0.1 POP3 other 'joe': nobody knows this user",
    ]
    assert (done.stderr, done.returncode) == ("", 0)


def test_debug_shows_what_each_module_answered(ptestpdm, site):
    """In the order of the questions, with times; standard output is the same."""
    data = f"192.0.2.7 POP3 default joe open {CANARY}\n"
    done = ptestpdm(site, data, "--debug")
    told = [line.rpartition(" after ") for line in done.stderr.splitlines()]
    assert [text for text, _, _ in told] == [
        "main: check: refused, backend=b1 target='3/2d/joe' secret=own flags=-",
        "main: authenticate: no",
        "m: authenticate: yes",
    ]
    assert all(float(time.removesuffix(" ms")) >= 0 for _, _, time in told)
    assert done.stdout == ptestpdm(site, data).stdout


FAILING = """
from popular.pdm.contract import *
class Failing(Module):
    def __init__(self, ident, arguments): self.ident, self.arguments = ident, arguments
    def check(self, question): raise ValueError(question.password.reveal())
    def reload(self): return self
    def close(self): print("closed", self.ident)
def open_module(ident, arguments): return Failing(ident, arguments)
"""


NAMED = """
from popular.pdm.contract import *
class Named(Module):
    def __init__(self, ident, arguments): self.ident, self.arguments = ident, arguments
    def check(self, question): return Authenticated(Route(question.certificate_name or "none"))
    def reload(self): return self
def open_module(ident, arguments): return Named(ident, arguments)
"""


@pytest.mark.parametrize(("options", "backend"), [((), "none"), (("--certificate-name", "ann"), "ann")])
def test_the_name_in_a_certificate_reaches_the_modules(ptestpdm, options, backend):
    """Every login shows it; without the option nobody has shown a certificate."""
    (ptestpdm.directory / "libpdm_named.py").write_text(NAMED)
    done = ptestpdm("n named\n", f"127.0.0.1 POP3s default joe {CANARY}\n" * 2, "-d", ".", *options)
    assert [f"backend={backend} " in line for line in done.stdout.splitlines()] == [True, True]
    assert done.returncode == 0


def test_a_module_that_fails_is_exit_1(ptestpdm):
    """All logins are tried, and each module is closed; --dir says where modules are."""
    (ptestpdm.directory / "libpdm_failing.py").write_text(FAILING)
    data = f"127.0.0.1 POP3 default joe {CANARY}\n127.0.0.1 POP3 default ann {CANARY}\n"
    for option in (("-d", "."), ("--dir", str(ptestpdm.directory)), ("--dir=.", "--debug")):
        done = ptestpdm("f failing\n", data, *option)
        assert done.stdout.splitlines() == [
            "127.0.0.1 POP3 default 'joe': cannot tell: f: ValueError",
            "127.0.0.1 POP3 default 'ann': cannot tell: f: ValueError",
            "closed f",
        ]
        assert done.returncode == 1


@pytest.mark.parametrize(
    ("commands", "data", "text"),
    [
        ("", "", "commands names no module"),
        ("main\n", "", "commands:1: ID MODULE-NAME [ARG]... is wanted"),
        ("a any b1\na any b2\n", "", "commands:2: there is a module 'a' already"),
        ("\na ani b1\n", "", "commands:2: no module 'ani' in"),
        ("a any\n", "", "commands:1: any: one or two arguments are wanted"),
        ('a any "b1\n', "", "commands:1: column 7"),
        ("a passwd missing\n", "", "missing cannot be read: No such file"),
        ("a any b1\n", "127.0.0.1 POP3 default joe\n", "data:1: IP PROTOCOL NAMESPACE USER PASSWORD is wanted"),
    ],
)
def test_a_faulty_file_is_exit_1(ptestpdm, commands, data, text):
    """File, line, and what is wrong."""
    done = ptestpdm(commands, data)
    assert text in done.stderr
    assert done.stderr.startswith("ptestpdm: ")
    assert done.returncode == 1


def test_a_missing_file_is_exit_1(ptestpdm):
    """By name."""
    done = ptestpdm("a any b1\n", "", "nowhere")
    assert done.returncode == 2, "three files are wrong usage"
    (ptestpdm.directory / "data").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "popular.pdm.ptestpdm", "commands", "data"],
        cwd=ptestpdm.directory, capture_output=True, text=True, timeout=patient(60),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "ptestpdm: data cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("options", "status"), [(["--help"], 0), (["--version"], 0), ([], 2), (["--nonsense", "a", "b"], 2)]
)
def test_usage(options, status):
    """Help and version are 0, wrong usage is 2."""
    done = subprocess.run(
        [sys.executable, "-m", "popular.pdm.ptestpdm", *options], capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == status
    if options == ["--help"]:
        assert all(word in done.stdout for word in ("COMMAND-FILE", "DATA-FILE", "--debug", "--dir", "Exit status"))
    if options == ["--version"]:
        assert done.stdout.startswith("ptestpdm ")
