"""The module `cdb` and its files: made by pcdb, compared with an independent library (pure-cdb) and with `passwd`."""

import io
import os
import random
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import cdblib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.pdm import cdb
from popular.pdm.contract import Authenticated, ModuleFailed, Question, Refused, Route, Secret, Unknown
from popular.pdm.loader import OWN_DIRECTORY, load
from popular.pdm.usercdb import FORMS_KEY
from tests.patience import patient
from tests.pdm.test_passwords import by_crypt

PCDB = (sys.executable, "-m", "popular.pdm.pcdb")
LINES = (
    "# users",
    "default:joe:{PLAIN}joe:b1:3/2d/joe",
    "other:joe:{PLAIN}other:b2:",
    "default:ann@example.org:{PLAIN}joe:b-1.x_:ann:for:the:backend ",
    "default:Jörg B:{PLAIN}joe:b1:jörg:",
    "default:bob:!:b1:bob",
)


def question(user: str, password: str = "joe", namespace: str = "default") -> Question:
    return Question("127.0.0.1", "POP3", namespace, user, Secret(password.encode()), "v1")


def pcdb(*words: object, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [*PCDB, *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=patient(60), check=False)


def made(directory: Path, *lines: str, name: str = "users.cdb") -> Path:
    """A database of these lines."""
    path = directory / name
    done = pcdb(path, given="".join(f"{line}\n" for line in lines))
    assert done.returncode == 0, done.stderr
    return path


def foreign(path: Path, records: dict[bytes, bytes]) -> Path:
    """A database by another program."""
    with path.open("wb") as file, cdblib.Writer(file) as writer:
        for key, data in records.items():
            writer.put(key, data)
    return path


# The format


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=600)), max_size=60))
def test_another_program_reads_what_is_written(records: list[tuple[bytes, bytes]]) -> None:
    """The first record of each key is found, by it as by us, and no key that is not there."""
    file = io.BytesIO()
    assert cdb.write(file, records) == len(records)
    theirs = cdblib.Reader(file.getvalue())
    wanted: dict[bytes, bytes] = {}
    for key, data in records:
        wanted.setdefault(key, data)
    memory = os.memfd_create("cdb")
    try:
        os.write(memory, file.getvalue())
        ours = cdb.Reader(memory)
        assert ours.records == len(records) == len(theirs.items())
        assert list(ours.first(1000)) == records == [(bytes(key), bytes(data)) for key, data in theirs.items()]
        for key, data in wanted.items():
            assert ours.get(key) == theirs.get(key) == data
        for key in (b"nobody", b"", b"\0" * 13):
            assert ours.get(key) == theirs.get(key) == wanted.get(key)
    finally:
        os.close(memory)


def test_the_format_by_hand() -> None:
    """One record, octet by octet, as cdb.txt describes it."""
    file = io.BytesIO()
    cdb.write(file, [(b"one", b"Hello")])
    content = file.getvalue()
    found = 5381
    for octet in b"one":
        found = ((found << 5) + found & 0xFFFFFFFF) ^ octet
    assert content[2048:2064] == struct.pack("<II", 3, 5) + b"oneHello"
    table = struct.unpack_from("<II", content, found % 256 * 8)
    assert table == (2064, 2)
    slots = [struct.unpack_from("<II", content, 2064 + 8 * slot) for slot in range(2)]
    assert slots[found // 256 % 2] == (found, 2048)
    assert len(content) == 2080


@given(st.data())
def test_a_damaged_file_never_does_more_than_fail(data: st.DataObject) -> None:
    """Cut off, or with octets exchanged: BadDatabase or another answer; it never ends its process."""
    file = io.BytesIO()
    records = [(f"default:user{n}".encode(), b"{PLAIN}joe:b1:") for n in range(40)]
    cdb.write(file, records)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    memory = os.memfd_create("cdb")
    try:
        os.write(memory, content)
        try:
            reader = cdb.Reader(memory)
            for key, _ in records:
                reader.get(key)
            list(reader.first(100))
        except cdb.BadDatabase:
            pass
    finally:
        os.close(memory)


# The module


@pytest.mark.processes
def test_it_answers_as_passwd_does(tmp_path: Path) -> None:
    """One file of users in both modules: the same answers to everybody."""
    users = tmp_path / "users"
    users.write_text("".join(f"{line}\n" for line in LINES))
    assert pcdb(tmp_path / "users.cdb", users).stdout == "users 5; bad lines 0\n"
    for more in ([], ["%d/%n"]):
        ours = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(tmp_path / "users.cdb"), *more])
        theirs = load(OWN_DIRECTORY, "passwd", "main", arguments=[str(users), *more])
        for namespace in ("default", "other", "", "default:joe"):
            for user in (
                "joe",
                "ann@example.org",
                "Jörg B",
                "bob",
                "nobody",
                "Joe",
                "",
                "joe:{PLAIN}joe",
                "\udcff",
                "a\0",
            ):
                for password in ("joe", "other", "wrong"):
                    one, other = (module.check(question(user, password, namespace)) for module in (ours, theirs))
                    assert type(one) is type(other), (namespace, user, password)
                    if not isinstance(one, Unknown):
                        assert one == other
        assert ours.check(question("joe")) == Authenticated(Route("b1", "3/2d/joe"))
        assert ours.check(question("joe", "x")) == Refused(Route("b1", "3/2d/joe"))
        ours.close()


@pytest.mark.processes
def test_unknown_users_cost_what_known_ones_cost(tmp_path: Path) -> None:
    """The forms of passwords come with the database, each as often as it has them; a name has always the same decoy."""
    cheap, dear = "{PLAIN}joe", by_crypt("$6$", "joe", 1000)
    lines = [f"default:user{n}:{cheap if n % 4 else dear}:b1:" for n in range(200)]
    module = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(made(tmp_path, *lines))])
    drawn = [module._users.decoys.drawn(f"default:stranger{n}".encode()) for n in range(1000)]
    assert 180 < drawn.count(dear) < 320
    assert drawn.count(dear) + sum(stored.startswith("{PLAIN}") for stored in drawn) == 1000
    again = module.reload()
    assert [again._users.decoys.drawn(f"default:stranger{n}".encode()) for n in range(1000)] == drawn
    answer = module.check(question("stranger1"))
    assert isinstance(answer, Unknown)
    assert answer.decoy is not None
    assert module.notes == ()


def test_a_database_of_another_program(tmp_path: Path) -> None:
    """The records suffice; the operator is told whence decoys are taken. A bad record is its user's trouble only."""
    path = foreign(
        tmp_path / "users.cdb",
        {
            b"default:joe": b"{PLAIN}joe:b1:3/joe",
            b"default:few": b"{PLAIN}joe:b1",
            b"default:odd": b"{PLAIN}joe:b 1:x",
            b"default:raw": b"{PLAIN}joe:b1:\xff",
            b"default:new": b"{NEWEST}joe:b1:x",
        },
    )
    module = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(path)])
    assert module.check(question("joe")) == Authenticated(Route("b1", "3/joe"))
    (note,) = module.notes
    assert "not made by pcdb" in note
    for user in ("few", "odd", "raw", "new"):
        with pytest.raises(ModuleFailed, match=str(path)) as caught:
            module.check(question(user))
        assert "joe" not in str(caught.value)
    answer = module.check(question("nobody"))
    assert isinstance(answer, Unknown)
    assert answer.decoy is not None


def test_no_name_leads_to_the_record_of_forms(tmp_path: Path) -> None:
    """It is the one key that is no user's; an empty namespace, as `USER popular=`, does not find it."""
    path = foreign(tmp_path / "users.cdb", {FORMS_KEY: b"1 {PLAIN}joe\n", b"default:joe": b"{PLAIN}joe:b1:"})
    module = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(path)])
    for namespace, user in (("", "popular"), ("", ":popular"), (":popular", ""), ("default", "joe:{PLAIN}joe")):
        assert isinstance(module.check(question(user, namespace=namespace)), Unknown)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"", 0o640, "too short"),
        (b"default:joe:{PLAIN}joe:b1:joe\n" * 200, 0o640, "no cdb"),
        (b"\0" * 2048, 0o646, "chmod o-w"),
        (None, 0o640, "No such file"),
    ],
)
def test_what_is_no_database(tmp_path: Path, content: bytes | None, mode: int, reason: str) -> None:
    """Refused at once, by name, and no descriptor is left open."""
    path = tmp_path / "users.cdb"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ModuleFailed, match=reason) as caught:
        load(OWN_DIRECTORY, "cdb", "main", arguments=[str(path)])
    assert str(path) in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("arguments", [(), ("a", "%u", "c"), ("a", ""), ("a\0b",), ("a", "%x")])
def test_bad_arguments(arguments: tuple[str, ...]) -> None:
    """FILE [TARGET], and nothing else."""
    with pytest.raises(ModuleFailed):
        load(OWN_DIRECTORY, "cdb", "main", arguments=list(arguments))


def test_a_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    """Who overwrites it in place breaks lookups, and no worker: a mapping would end the process."""
    path = foreign(tmp_path / "users.cdb", {f"default:user{n}".encode(): b"{PLAIN}joe:b1:" for n in range(1000)})
    module = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(path)])
    assert isinstance(module.check(question("user500")), Authenticated)
    os.truncate(path, 4000)
    with pytest.raises(ModuleFailed, match="broken off"):
        module.check(question("user500"))
    os.truncate(path, 0)
    with pytest.raises(ModuleFailed):
        module.check(question("user500"))


@pytest.mark.processes
def test_the_old_one_serves_until_it_is_reloaded(tmp_path: Path) -> None:
    """pcdb replaces the file by a rename; what was open stays whole."""
    path = made(tmp_path, "default:joe:{PLAIN}joe:b1:")
    module = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(path)])
    made(tmp_path, "default:ann:{PLAIN}joe:b1:")
    assert isinstance(module.check(question("joe")), Authenticated)
    new = module.reload()
    assert isinstance(new.check(question("joe")), Unknown)
    assert isinstance(new.check(question("ann")), Authenticated)
    assert new.files != module.files
    module.close()
    assert isinstance(new.check(question("ann")), Authenticated)


@pytest.mark.processes
@pytest.mark.timeout(patient(300))
def test_four_hundred_thousand_users(tmp_path: Path) -> None:
    """Open in less than a second and a megabyte, 20 µs a lookup; several times that is allowed on a busy machine."""
    hashed = by_crypt("$6$", "joe", 1000)
    users = "".join(f"default:user{n}@example.org:{hashed}:b{n % 30}:3/{n}\n" for n in range(400_000))
    path = tmp_path / "users.cdb"
    assert pcdb(path, given=users).stdout == "users 400000; bad lines 0\n"
    names = [f"user{random.randrange(500_000)}@example.org" for _ in range(20_000)]
    before, began = _resident(), time.process_time()
    module = load(OWN_DIRECTORY, "cdb", "main", arguments=[str(path)])
    opened = time.process_time() - began
    began = time.process_time()
    found = sum(module._users.find("default", name) is not None for name in names)
    lookup = (time.process_time() - began) / len(names)
    print(f"opened in {opened * 1000:.1f} ms, {lookup * 1e6:.1f} µs a lookup, {(_resident() - before) / 1024:.0f} kB")
    assert 15_000 < found < 17_000
    assert opened < 1
    assert lookup < 60e-6
    assert _resident() - before < 1 << 20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# pcdb


@pytest.mark.processes
def test_bad_lines_are_told_or_refused(tmp_path: Path) -> None:
    """Skipped, counted and told by number; with --strict nothing is made, and the old one stays."""
    path = made(tmp_path, *LINES)
    old = path.read_bytes()
    bad = "default:ann:{PLAIN}x:b1:\ndefault:eve\ndefault:ann:{PLAIN}y:b2:\n"
    done = pcdb("--strict", path, given=bad)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pcdb: standard input:2: ")
    assert path.read_bytes() == old
    done = pcdb(path, given=bad)
    assert (done.returncode, done.stdout) == (0, "users 1; bad lines 2\n")
    assert "standard input:2: " in done.stderr
    assert "standard input:3: there is a user 'ann'" in done.stderr
    assert cdblib.Reader(path.read_bytes()).get(b"default:ann") == b"{PLAIN}x:b1:"
    done = pcdb(path, given="nonsense\n")
    assert (done.returncode, path.read_bytes()) == (1, cdblib_content(path))
    assert [file.name for file in tmp_path.iterdir()] == ["users.cdb"], "nothing is left beside it"


def cdblib_content(path: Path) -> bytes:
    """What is there, after an independent reader found it whole."""
    content = path.read_bytes()
    assert cdblib.Reader(content).get(b"default:ann") is not None
    return content


@pytest.mark.processes
def test_rights_stay(tmp_path: Path) -> None:
    """The first one is 0640 whatever the umask, a later one has owner, group and mode of the one it replaces."""
    path = made(tmp_path, *LINES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    if os.getuid() == 0:
        os.chown(path, 65534, 65533)
    before = path.stat()
    made(tmp_path, *LINES)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.processes
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere/users.cdb", "-"], 1),
        (["users.cdb", "missing"], 1),
        ([], 2),
        (["a", "b", "c"], 2),
        (["--strick", "a"], 2),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, words: list[str], code: int) -> None:
    """Says why; nothing is left."""
    done = subprocess.run(
        [*PCDB, *words], cwd=tmp_path, input="default:joe:{PLAIN}joe:b1:\n", capture_output=True, text=True,
        timeout=patient(60), check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == code
    assert "pcdb: " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_no_users_make_no_database(tmp_path: Path) -> None:
    """`false | pcdb` leaves the old one as it is; whoever means it says so."""
    path = tmp_path / "users.cdb"
    assert "no users" in pcdb(path).stderr
    assert not path.exists()
    before = made(tmp_path, *LINES).read_bytes()
    assert pcdb(path, "-s", given="# nobody\n").returncode == 1
    assert path.read_bytes() == before
    assert pcdb(path, "--empty").returncode == 0
    assert path.read_bytes() != before
