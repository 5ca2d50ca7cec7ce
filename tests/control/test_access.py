"""The access file: who may say what over the control socket."""

import os
import socket

import pytest

from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.control.language.kinds import Choice
from supervisor.control.language.language import Language
from supervisor.control.wire.access import Access, FaultyAccess, access_of
from supervisor.control.wire.peer import Peer, peer_of

LANGUAGE = Language(PPROXY.commands)
OWNER, WATCHER, ON_CALL, DEPLOYER, BOTH, STRANGER = (
    Peer(900, 1, frozenset({900})),
    Peer(1, 1, frozenset({10})),
    Peer(2, 1, frozenset({20})),
    Peer(77, 1, frozenset()),
    Peer(3, 1, frozenset({10, 20, 30})),
    Peer(4, 1, frozenset({40})),
)
ROOT = Peer(0, 1)
_GROUPS = {"watch": 10, "oncall": 20, "blockers": 30}


def _number(name: str) -> int:
    if name not in _GROUPS:
        raise ValueError(f"there is no group '{name}' on this host")
    return _GROUPS[name]


def _read(*lines: str) -> Access:
    text = "\n".join(lines).encode()
    return access_of(text, "access", 900, language=LANGUAGE, numbers={"user": _number, "group": _number})


ACCESS = _read(
    "# who may what",
    "group watch read",
    "group oncall say kill *   # and nothing else of a session",
    "group oncall say backend conf * state *",
    'group oncall say vserv show "main"',
    "group blockers say block ...",
    "user 77 all",
)


@pytest.mark.parametrize("language", [LANGUAGE, Language(PSERV.commands)], ids=["pproxy", "pserv"])
def test_a_reader_may_say_what_its_row_says_only_reads(language: Language) -> None:
    """The whole table is walked: plain, as JSON, and in quotes."""
    for access in (Access(900), ACCESS):
        for command in language.commands:
            words = [*command.shape.head]
            for name in command.shape.required:
                kind = command.slots[name]
                words.append(kind.words[0] if isinstance(kind, Choice) else "x")
            changes = command.changes or command.one_off
            for line in (
                " ".join(words),
                " ".join(["json", *words]),
                " ".join(f'"{word}"' for word in ["json", *words]),
            ):
                assert bool(access.refusal(WATCHER, line, language)) == changes, line
                assert access.refusal(ROOT, line, language) == access.refusal(OWNER, line, language) == "", line


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (ON_CALL, "kill 1.2.3"),
        (ON_CALL, "json kill 1.2.3"),
        (ON_CALL, "json json kill 1.2.3"),
        (ON_CALL, 'kill   "1.2.3" # he asked for it'),
        (ON_CALL, "backend conf b state offline"),
        (ON_CALL, "show config"),
        (BOTH, "block 192.0.2.0/24"),
        (BOTH, "block 192.0.2.0/24 until 10m"),
        (BOTH, "kill 1.2.3"),
        (DEPLOYER, "shutdown all"),
        (DEPLOYER, "draft begin"),
        (WATCHER, "sign as ann"),
    ],
)
def test_what_may_be_said(peer: Peer, line: str) -> None:
    """Lines of the file add up, a pattern is looked at word by word, and who may say something may read as well."""
    assert ACCESS.refusal(peer, line, LANGUAGE) == ""


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (ON_CALL, "backend conf b state offline host evil"),
        (ON_CALL, "backend conf b host evil"),
        (ON_CALL, "backend conf b"),
        (ON_CALL, "backend del b"),
        (ON_CALL, "block 192.0.2.0/24"),
        (ON_CALL, "draft say kill 1.2.3"),
        (ON_CALL, "draft begin"),
        (WATCHER, "kill 1.2.3"),
        (WATCHER, "secret eA=="),
        (STRANGER, "show config"),
        (STRANGER, "help"),
        (STRANGER, "sign as root"),
        (STRANGER, "no such thing"),
    ],
)
def test_what_may_not_be_said(peer: Peer, line: str) -> None:
    """More words than the pattern has are another command; whom the file does not name may not even look."""
    assert "nothing was changed" in ACCESS.refusal(peer, line, LANGUAGE)


def test_json_counts_for_nothing_in_the_file_either() -> None:
    """A line with it would allow nothing otherwise, and nobody would see."""
    access = _read("user 77 say json kill *")
    assert access.refusal(DEPLOYER, "kill 1.2.3", LANGUAGE) == ""
    assert access.refusal(DEPLOYER, "json kill 1.2.3", LANGUAGE) == ""
    assert access.refusal(DEPLOYER, "block 192.0.2.0/24", LANGUAGE)
    with pytest.raises(FaultyAccess, match="which command"):
        _read("user 77 say json ...")


def test_a_refusal_names_what_is_allowed() -> None:
    """So that nobody has to ask for the file."""
    assert "kill *, backend conf * state *" in ACCESS.refusal(ON_CALL, "set grace 1s", LANGUAGE)
    assert "only read" in ACCESS.refusal(WATCHER, "set grace 1s", LANGUAGE)
    assert "uid 4" in ACCESS.refusal(STRANGER, "show", LANGUAGE)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("grp watch read", 'access:1:1: "grp" is unknown; did you mean "group"?; allowed: user, group'),
        ("group watch", "access:1:7: too few words"),
        ("group nobody read", "access:1:7: there is no group 'nobody' on this host"),
        ("group watch write", 'access:1:13: "write" is unknown; allowed: read, say, all'),
        ("group watch read all", 'access:1:18: "all" is too much after read'),
        ("group watch say", "access:1:13: which command?"),
        ("group watch say ...", "access:1:13: which command?"),
        ("group watch say kil *", 'access:1:17: "kil" is unknown; did you mean "kill"?'),
        ("group watch say backend", 'access:1:17: a word is missing after "backend"; allowed: '),
        ("group watch say kill", "access:1:17: <sid> is missing; usage: kill <sid>; with ... after these words"),
        ("group watch say kick *", "access:1:22: <whom> is missing; usage: kick "),
        ("group watch say json kick *", "access:1:27: <whom> is missing"),
        ("group watch say backend conf * state", "access:1:32: <value> is missing"),
        ("group watch say kick usr *", 'access:1:22: what: "usr" is unknown; did you mean "user"?'),
        (
            "group watch say backend conf * state onlin",
            'access:1:38: value: "onlin" is unknown; did you mean "online"?',
        ),
        ("group watch say kill * *", 'access:1:24: "*" is too much'),
        ("group watch say kill * * ...", 'access:1:24: "*" is too much'),
        ("group watch say ... kill", "access:1:17: ... stands at the end only"),
        ('group watch "read', "access:1:13: a quote is not closed"),
    ],
)
def test_a_faulty_line_is_told(line: str, fault: str) -> None:
    """Which word, and what is allowed. One faulty line makes the whole file of no use: nobody guesses at rights."""
    with pytest.raises(FaultyAccess) as told:
        _read(line, "user 77 all")
    assert str(told.value).startswith(fault)


@pytest.mark.parametrize(
    "pattern",
    [
        "kick ...",
        "kick backend ...",
        "backend ...",
        "kick * *",
        "draft say ...",
        "backend conf * state ...",
        "backend conf state state online",
    ],
)
def test_a_pattern_may_end_before_its_command(pattern: str) -> None:
    """With `...`, which stands for the words that are missing; what may be left out need not be there."""
    assert _read(f"user 77 say {pattern}").rules


def test_an_empty_file_lets_nobody_in() -> None:
    """It is not the same as no file."""
    assert "does not name you" in _read("# nobody yet").refusal(WATCHER, "show", LANGUAGE)
    assert Access(900).refusal(WATCHER, "show", LANGUAGE) == ""


def test_the_kernel_tells_who_is_there() -> None:
    """The user, the process and all groups, of which there may be many."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours) == Peer(os.geteuid(), os.getpid(), frozenset({os.getegid(), *os.getgroups()}))
