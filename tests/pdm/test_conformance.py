"""`ptestpdm --conformance`: our modules pass, and each way to break the contract is found."""

import base64
import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from popular.pdm import pcdb, ptestpdm

MODULES = Path(__file__).with_name("modules")
TEMPLATE = Path(__file__).parents[2] / "deploy" / "popular" / "libpdm_template.py"
TRIALS = 12


def tried(capsys, *words, directory=None, known=()):
    """The exit status, and the names of the trials that failed."""
    where = ["-d", str(directory)] if directory else []
    status = ptestpdm.main([*where, *known, "--conformance", *words])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == TRIALS
    return status, [line for line in lines if line.startswith("FAILED ")]


@pytest.fixture
def users(tmp_path):
    """A file with one user, joe, his password in another file, and the options that name them."""
    (tmp_path / "users").write_text("default:joe:{PLAIN}right:b1:\n")
    (tmp_path / "secret").write_text("right\n")
    return tmp_path, ["--user", "joe", "--passwordfile", str(tmp_path / "secret")]


def test_the_modules_that_come_with_the_proxy_pass(capsys, users):
    """Each with the user whom it knows."""
    directory, known = users
    path = str(directory / "users")
    assert pcdb.main([f"{path}.cdb", path]) == 0
    capsys.readouterr()
    (directory / "masters").write_text("192.0.2.1:default:{PLAIN}master\n")
    for words in (["any", "b1"], ["passwd", path], ["cdb", f"{path}.cdb"]):
        assert tried(capsys, *words, known=known) == (0, []), words
    assert tried(capsys, "master", str(directory / "masters")) == (0, [])


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("fine", ""),
        ("error", "KeyError"),
        ("wrong", "something else than the contract allows"),
        ("locked", "the right password is refused"),
        ("down", "the right password is cannot tell: the database is down"),
    ],
)
def test_what_breaks_the_contract_is_found(capsys, users, kind, how, found):
    """The module of the tests, as it behaves and as it misbehaves."""
    directory, known = users
    (directory / "how").write_text(how)
    (directory / "how.asked").touch()
    known = [*known[:1], "tried-joe", *known[2:]]
    status, failed = tried(capsys, "odd", str(directory / "how"), "b1", kind, directory=MODULES, known=known)
    assert (status, bool(failed)) == (1, True) if found else (0, False), failed
    assert all(found in line for line in failed[:1])


def test_what_was_not_tried_is_told(capsys, users):
    """Without a user nobody knows whether it lets one in; what it takes no part in is no merit of it."""
    directory, known = users
    told = {}
    nothing: list[str] = []
    for words in (nothing, known):
        assert ptestpdm.main([*words, "--conformance", "passwd", str(directory / "users")]) == 0
        lines = capsys.readouterr().out.splitlines()
        told[bool(words)] = [line for line in lines if not line.startswith("ok ")]
    lets_in, leads = (
        "lets a known user in, and nobody with a wrong password",
        "a user whom it does not have it leads nowhere",
    )
    left = f"-       {leads} (not tried: it has no lead)"
    assert told == {
        False: [f"-       {lets_in} (not tried: say --user and --passwordfile)", left],
        True: [left],
    }


WRONG = {
    "panics when it is asked who somebody is": (
        "lookup",
        "raise type('PanicException', (BaseException,), {})('x')",
        "it raised PanicException",
    ),
    "lets in by quotes": (
        "check",
        "return Authenticated(Route('b1')) if \"'\" in question.user else UNKNOWN",
        "let in",
    ),
    "prints the password": ("check", "print(question.password.reveal()); return UNKNOWN", "a secret was printed"),
    "holds the loop": ("check", "time.sleep(0.02); return UNKNOWN", "it was held for"),
    "vouches for all": ("authenticate", "return True", "vouched"),
    "is its own successor": ("reload", "return self", "its successor is itself"),
    "leaves a file open": ("check", "self.kept = [*self.kept, os.open('/dev/null', 0)]; return UNKNOWN", "left open"),
    "shows another salt each time": (
        "check",
        "return Provable(keys_of(b'x', os.urandom(16)), Route('b1')) if question.kind == 'scram' else UNKNOWN",
        "one salt now, and another one then",
    ),
    "lets in who has proven nothing": (
        "check",
        "return Authenticated(Route('b1')) if question.kind == 'scram' else UNKNOWN",
        "asked for keys: answered with something else",
    ),
    "has no decoys of keys": (
        "check",
        "return Unknown(lambda: None) if question.kind == 'scram' else UNKNOWN",
        "its decoy gives no keys",
    ),
    "makes nonsense of a challenge": (
        "check",
        "return HandedOn(b'r=x', let_in) if question.kind == 'scram' else UNKNOWN",
        "its challenge is none of SCRAM",
    ),
    "lets in by any response": (
        "check",
        "return HandedOn(challenge(question.proof.first), let_in) if question.kind == 'scram' else UNKNOWN",
        "it lets in who has proven nothing",
    ),
    "looks up nonsense": ("lookup", "return 'joe'", "it gave a str"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_each_trial_finds_its_fault(capsys, tmp_path, fault):
    """One module for each fault, written for it."""
    name, body, found = WRONG[fault]
    bodies = {"check": "return UNKNOWN", "authenticate": "return False", "lookup": "return None"}
    bodies |= {"reload": "return Wrong(self.ident, self.arguments)", name: body}
    heads = {
        "check": "async def check(self, question):",
        "authenticate": "async def authenticate(self, question, route):",
        "lookup": "async def lookup(self, namespace, user):",
        "reload": "def reload(self):",
    }
    methods = "".join(f"    {heads[name]}\n        {text}\n" for name, text in bodies.items())
    (tmp_path / "libpdm_wrong.py").write_text(
        "import os, time\n"
        "from popular.pdm.contract import UNKNOWN, AsyncModule, Authenticated, HandedOn, Provable, Route, Unknown\n"
        "from popular.protocol.scram import keys_of\n"
        "def challenge(first):\n"
        "    return b'r=' + first.rpartition(b'r=')[2] + b'x,s=AAECAwQFBgcICQoLDA0ODw==,i=4096'\n"
        "async def let_in(said):\n"
        "    return Authenticated(Route('b1'))\n"
        "class Wrong(AsyncModule):\n"
        "    kept = []\n"
        "    takes = frozenset({'password', 'scram'})\n"
        "    def __init__(self, ident, arguments):\n"
        "        self.ident, self.arguments = ident, arguments\n"
        f"{methods}"
        "open_module = Wrong\n"
    )
    before = set(os.listdir("/proc/self/fd"))
    status, failed = tried(capsys, "wrong", directory=tmp_path)
    for number in set(os.listdir("/proc/self/fd")) - before:
        os.close(int(number))
    assert status == 1
    assert found in failed[0]


def test_the_template_of_the_manual_passes(capsys, users):
    """The module that is printed in popular-pdm(7), with a service that knows joe; without one it cannot tell."""
    directory, known = users
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        port = str(server.getsockname()[1])
        (directory / "key").write_text("key\n")
        words = ["template", "127.0.0.1", port, "passwordfile", str(directory / "key")]
        assert tried(capsys, *words, directory=TEMPLATE.parent, known=known) == (0, [])
    status, failed = tried(capsys, *words, directory=TEMPLATE.parent, known=known)
    assert (status, len(failed)) == (1, 1)
    assert "the right password is cannot tell" in failed[0]


def _serve(server):
    """The service that the template asks."""
    right = [base64.b64encode(word) for word in (b"default", b"joe", b"right")]
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as file, contextlib.suppress(OSError):
                key, *words = file.readline().split(b" ")
                words[-1:] = [word.rstrip() for word in words[-1:]]
                answer = b"YES b1" if words == right else b"NO b1" if words[1:2] == right[1:2] else b"UNKNOWN"
                file.write(answer + b"\n" if key == b"key" else b"?\n")
