"""The module `passwd`: real files, real hashes."""

import hashlib
import os
import statistics
import threading
import time
import traceback
import tracemalloc
import zlib

import pytest

from popular.pdm import passwords
from popular.pdm.contract import Authenticated, ModuleFailed, Question, Refused, Route, Secret, Unknown
from popular.pdm.decision import NobodyKnows, RefusedLogin
from popular.pdm.loader import OWN_DIRECTORY, load
from tests.pdm.asking import ask
from tests.pdm.test_passwords import UNKNOWN_FORMS, by_crypt

CANARY = "canary-4711"


def question(user, password="joe", namespace="default"):
    return Question("127.0.0.1", "POP3", namespace, user=user, password=Secret(password.encode()), vserv="v1")


@pytest.fixture
def passwd(tmp_path):
    """Opens the module with a file of these lines, and with these arguments after it."""

    def opened(*lines, end="\n", more=(), name="users"):
        path = tmp_path / name
        path.write_text("".join(line + end for line in lines), encoding="utf-8", newline="")
        return load(OWN_DIRECTORY, "passwd", "main", arguments=[str(path), *more])

    opened.path = tmp_path / "users"  # type: ignore[attr-defined]
    return opened


def test_users_are_found_with_their_routes(passwd):
    """Target and secret may be empty or absent: then they are the client's own."""
    hashed = by_crypt("$y$", "joe", 1)
    module = passwd(
        "# users of the demo",
        "",
        f"default:joe:{hashed}:b1:3/2d/joe",
        f"other:joe:{hashed}:b2:",
        "default:ann@example.org:{PLAIN}joe:b-1.x_:ann:for:the:backend ",
        "default:Jörg B:{PLAIN}joe:b1:jörg:",
        "   ",
    )
    routes = {
        ("default", "joe"): Route("b1", "3/2d/joe"),
        ("other", "joe"): Route("b2"),
        ("default", "ann@example.org"): Route("b-1.x_", "ann", Secret(b"for:the:backend ")),
        ("default", "Jörg B"): Route("b1", "jörg"),
    }
    for (namespace, user), route in routes.items():
        assert module.check(question(user, namespace=namespace)) == Authenticated(route)
        assert module.check(question(user, "jo", namespace)) == Refused(route)


@pytest.mark.parametrize(
    ("namespace", "user"),
    [
        ("default", "ann"),
        ("other", "joe"),
        ("default", "Joe"),
        ("default", "joe "),
        ("default", ""),
        ("", "joe"),
        ("default", "joe:{PLAIN}joe"),
        ("default:joe", "{PLAIN}joe"),
        ("default", "\udcff"),
        ("default", "joe\0"),
    ],
)
def test_others_are_unknown(passwd, namespace, user):
    """Namespace and name must be equal in every letter; a colon in a name does not lead into the next field."""
    module = passwd("default:joe:{PLAIN}joe:b1:joe")
    assert isinstance(module.check(question(user, namespace=namespace)), Unknown)


def test_names_of_one_checksum_are_told_apart(passwd):
    """The index is by checksum; two names that share one have each their own line."""
    seen: dict[int, str] = {}
    for number in range(400_000):
        two = hashlib.sha256(b"%d" % number).hexdigest()[:12]
        one = seen.setdefault(zlib.crc32(f"default:{two}".encode()), two)
        if one != two:
            break
    else:
        pytest.fail("no two names of one checksum among these")
    module = passwd(
        f"default:{one}:{{PLAIN}}joe:b1:one", "default:x:{PLAIN}joe:b1:", f"default:{two}:{{PLAIN}}joe:b1:two"
    )
    assert module.check(question(one)) == Authenticated(Route("b1", "one"))
    assert module.check(question(two)) == Authenticated(Route("b1", "two"))
    doubled = passwd(*(f"default:{name}:{{PLAIN}}joe:b1:" for name in (one, two, "x", one)))
    assert doubled.notes[1:] == [f"{passwd.path}:4: there is a user '{one}' of namespace 'default' already, in line 1"]
    assert doubled.check(question(two)) == Authenticated(Route("b1"))


def test_a_locked_user_is_refused(passwd):
    """He is known, and no password lets him in."""
    module = passwd("default:joe:!:b1:joe", "default:ann:{PLAIN}ann:b1:ann")
    assert module.check(question("joe", "!")) == Refused(Route("b1", "joe"))


FAULTY_LINES = [
    ("default:joe:{PLAIN}" + CANARY + ":b1", "4 of the fields NAMESPACE:USER:HASH:BACKEND:TARGET"),
    (CANARY, "1 of the fields"),
    ("de fault:joe:{PLAIN}x:b1:", "NAMESPACE is no id: letters"),
    (":joe:{PLAIN}x:b1:", "NAMESPACE is empty"),
    ("default::{PLAIN}x:b1:", "USER is empty"),
    ("default: joe:{PLAIN}x:b1:", "USER has a blank"),
    ("default:joe:{PLAIN}x::joe", "BACKEND is empty"),
    ("default:joe:{PLAIN}x:b/1:joe", "BACKEND is no id"),
    ("default:joe::b1:joe", "HASH is empty: '!' locks"),
    (f"default:joe:{CANARY}:b1:joe", "HASH: this is no hash of a known form"),
    (f"default:joe:{{ROT13}}{CANARY}:b1:joe", "HASH: the scheme in braces cannot be verified"),
    (f"default:joe:{{PLAIN}}{CANARY}\t:b1:joe", "holds a control character"),
    ("default:ann:{PLAIN}x:b1:ann", "there is a user 'ann' of namespace 'default' already, in line 2"),
]


@pytest.mark.parametrize(("line", "text"), FAULTY_LINES)
def test_a_faulty_line_is_skipped_and_named(passwd, line, text):
    """File, line number and what is wrong; nothing that could be a hash or a password. All others are users."""
    lines = ("# comment", f"default:ann:{{PLAIN}}{CANARY}:b1:ann:{CANARY}", "", line, "default:bob:{PLAIN}x:b1:bob")
    module = passwd(*lines)
    assert module.notes[0] == f"{passwd.path}: 1 bad line is skipped"
    assert module.notes[1].startswith(f"{passwd.path}:4: {text}")
    assert (len(module.notes), module.skipped) == (2, 1)
    assert isinstance(module.check(question("ann", CANARY)), Authenticated)
    assert isinstance(module.check(question("bob", "x")), Authenticated)
    assert isinstance(module.check(question("joe", CANARY)), Unknown)
    with pytest.raises(ModuleFailed) as caught:
        passwd(*lines, more=["strict"])
    assert str(caught.value) == module.notes[1]
    assert CANARY not in "".join([*module.notes, *traceback.format_exception_only(caught.value)])


def test_the_first_ten_bad_lines_are_told_and_all_are_counted(passwd):
    """In the order of the file, whatever is wrong with them and however it is found."""
    bad = ["nonsense", "default:u0:{PLAIN}x:b1:", "default:x:no hash:b1:", "default:x:nohash:b1:"]
    module = passwd(*(line for number in range(30) for line in (f"default:u{number}:{{PLAIN}}x:b1:", *bad)))
    first = [at for at in range(1, 151) if at % 5 != 1][:10]
    assert [note.split(":")[1] for note in module.notes] == [
        " 120 bad lines are skipped, the first 10 of them",
        *map(str, first),
    ]
    assert module.skipped == 120
    assert all(isinstance(module.check(question(f"u{number}", "x")), Authenticated) for number in range(30))


def test_a_file_of_nothing_but_bad_lines_is_refused(passwd):
    """It is another kind of file; a slip of the pen leaves at least one good line."""
    with pytest.raises(ModuleFailed, match=r":1: 3 of the fields.*; no line of this file is good"):
        passwd("root:x:0", "joe:x:1000")
    assert passwd("# nobody yet", "").notes == []


def test_a_last_line_without_its_end_counts_and_is_told(passwd):
    """At the first time nobody knows whether somebody has written it so, or a full disk has cut it."""
    line = "default:joe:{PLAIN}joe:b1:joe"
    module = passwd(line, end="")
    assert module.check(question("joe")) == Authenticated(Route("b1", "joe"))
    assert [note.partition(", ")[0] for note in module.notes] == [f"{passwd.path}: its last line has no line end"]
    assert not module.ended
    assert passwd(line).ended == {str(passwd.path)}


def test_a_file_may_be_named_strict(passwd, monkeypatch):
    """With a path in front of its name, as with a file named -f."""
    passwd("default:joe:{PLAIN}joe:b1:joe", "nonsense", name="strict")
    monkeypatch.chdir(passwd.path.parent)
    assert load(OWN_DIRECTORY, "passwd", "main", arguments=["./strict"]).skipped == 1
    with pytest.raises(ModuleFailed, match="FILE"):
        load(OWN_DIRECTORY, "passwd", "main", arguments=["strict"])


@pytest.mark.parametrize("stored", [stored for stored in UNKNOWN_FORMS if ":" not in stored and "\n" not in stored])
def test_a_hash_of_unknown_form_never_waits_for_its_user(passwd, stored):
    """It is found when the file is read."""
    with pytest.raises(ModuleFailed, match=":1: "):
        passwd(f"default:joe:{stored}:b1:joe", more=["strict"])


def test_what_is_not_utf8_is_named(passwd):
    """With its line."""
    passwd.path.write_bytes(b"default:joe:{PLAIN}x:b1:\ndefault:j\xf6rg:{PLAIN}x:b1:\n")
    module = load(OWN_DIRECTORY, "passwd", "main", arguments=[str(passwd.path)])
    assert module.notes[1] == f"{passwd.path}:2: is not UTF-8"


def test_a_target_is_made_of_the_name(passwd):
    """Where the line says none: so a mailbox of a mail address needs no `@`, which XPOP does not allow."""
    module = passwd("default:joe@example.org:{PLAIN}x:b1:", "default:ann@example.org:{PLAIN}x:b1:3/ann", more=["%d/%n"])
    assert module.check(question("joe@example.org", "x")) == Authenticated(Route("b1", "example.org/joe"))
    assert module.check(question("ann@example.org", "x")) == Authenticated(Route("b1", "3/ann"))
    assert module.reload().check(question("joe@example.org")) == Refused(Route("b1", "example.org/joe"))
    with pytest.raises(ModuleFailed, match="passwd: '%x' in TARGET"):
        passwd(more=["%x"])


def test_four_hundred_thousand_users_are_loaded_fast(passwd):
    """Two seconds on the machine of the tests; five are allowed, because others run on it too."""
    hashed = by_crypt("$6$", "joe", 1000)
    passwd.path.write_text("".join(f"default:user{n}@example.org:{hashed}:b{n % 30}:3/{n}\n" for n in range(400_000)))
    begin = time.process_time()
    module = load(OWN_DIRECTORY, "passwd", "main", arguments=[str(passwd.path)])
    seconds = time.process_time() - begin
    print(f"400,000 users: {seconds:.2f} s of CPU")
    assert isinstance(module.check(question("user399999@example.org")), Authenticated)
    assert seconds < 5


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_both_line_ends_are_read(passwd, end):
    """A file from a console with CRLF lines is as good, and so is one whose last line has no end."""
    module = passwd("default:joe:{PLAIN}joe:b1:joe", "default:ann:{PLAIN}ann:b1:ann", end=end)
    assert module.check(question("joe")) == Authenticated(Route("b1", "joe"))
    passwd.path.write_bytes(passwd.path.read_bytes().removesuffix(end.encode()))
    assert module.reload().check(question("ann", "ann")) == Authenticated(Route("b1", "ann"))


def test_the_file_must_be_one(tmp_path):
    """Missing, a directory, a named pipe, a file that everybody may write: refused at once, by name."""

    def failure(path):
        with pytest.raises(ModuleFailed) as caught:
            load(OWN_DIRECTORY, "passwd", "main", arguments=[str(path)])
        assert str(path) in str(caught.value)
        return str(caught.value)

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o666)
    assert "No such file" in failure(tmp_path / "missing")
    assert "not a regular file" in failure(tmp_path / "pipe")
    assert "not a regular file" in failure(tmp_path)
    assert "chmod o-w" in failure(tmp_path / "open")


@pytest.mark.parametrize("arguments", [(), ("strict",), ("a", "%u", "c"), ("a", ""), ("a\0b",)])
def test_wrong_arguments_are_refused(arguments):
    """A file name is wanted, a TARGET and `strict` may follow."""
    with pytest.raises(ModuleFailed):
        load(OWN_DIRECTORY, "passwd", "main", arguments=arguments)


def test_a_reload_reads_anew_and_leaves_the_old_one_alone(passwd):
    """The successor has the new users; the old one answers as before, also if the reload fails."""
    old = passwd("default:joe:{PLAIN}joe:b1:joe")
    passwd.path.write_text("default:ann:{PLAIN}joe:b1:ann\n")
    new = old.reload()
    assert new.check(question("ann")) == Authenticated(Route("b1", "ann"))
    assert isinstance(new.check(question("joe")), Unknown)
    assert (new.ident, new.arguments) == (old.ident, old.arguments)
    passwd.path.write_text("nonsense\n")
    with pytest.raises(ModuleFailed):
        new.reload()
    passwd.path.unlink()
    with pytest.raises(ModuleFailed):
        new.reload()
    assert old.check(question("joe")) == Authenticated(Route("b1", "joe"))
    assert new.check(question("ann")) == Authenticated(Route("b1", "ann"))
    old.close()
    new.close()


def test_a_relative_file_stays_the_same_file(passwd, monkeypatch):
    """A daemon changes its directory; the file is that of the moment of `pdm add`."""
    passwd("default:joe:{PLAIN}joe:b1:joe")
    monkeypatch.chdir(passwd.path.parent)
    module = load(OWN_DIRECTORY, "passwd", "main", arguments=["users"])
    monkeypatch.chdir("/")
    assert isinstance(module.reload().check(question("joe")), Authenticated)
    assert module.arguments == ("users",)


def test_it_is_asked_in_a_thread(passwd):
    """Hashes take long; several threads may ask at once."""
    module = passwd(
        *(f"default:user{number}:{by_crypt('$5$', f'word{number}', 1000)}:b1:{number}" for number in range(4))
    )
    assert module.blocking
    wrong = []

    def ask_for(number):
        for _ in range(20):
            if module.check(question(f"user{number}", f"word{number}")) != Authenticated(Route("b1", str(number))):
                wrong.append(number)

    threads = [threading.Thread(target=ask_for, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_vouches_for_nobody(passwd):
    """Its own users it has answered for in the first round."""
    assert passwd("default:joe:{PLAIN}joe:b1:joe").authenticate(question("joe"), Route("b2")) is False


# --- the same time for everyone -------------------------------------------------------------------------------------


def medians(modules, users):
    """Seconds of the processor that the chain takes for each of these users with a wrong password, in turns."""
    times: dict[str, list[float]] = {user: [] for user in users}
    for _ in range(15):
        for user in users:
            begin = time.process_time()
            ask(modules, question(user, "wrong"))
            times[user].append(time.process_time() - begin)
    return {user: statistics.median(spent) for user, spent in times.items()}


def test_an_unknown_user_takes_the_time_of_a_known_one(passwd):
    """With hashes of several milliseconds, neither an unknown nor a locked user is answered sooner or later."""
    module = passwd(f"default:joe:{by_crypt('$6$', 'joe', 20_000)}:b1:joe", "default:locked:!:b1:")
    spent = medians([module], ["joe", "locked", "nobody", "somebody"])
    assert spent["joe"] > 0.002, "the hash costs something"
    assert all(1 / 3 < seconds / spent["joe"] < 3 for seconds in spent.values()), spent


def verifications(monkeypatch):
    """The stored passwords that are verified from now on. The real verification is done all the same."""
    verified, real = [], passwords.verify

    def counted(stored, password):
        verified.append(stored)
        return real(stored, password)

    monkeypatch.setattr(passwords, "verify", counted)
    return verified


def asked(modules, user, password="wrong"):
    return ask(modules, question(user, password))


def test_two_modules_cost_what_one_does(passwd, monkeypatch):
    """Whichever file has the user, and if none has: one verification, and an unknown one's is of either's forms.

    As often of each as it has users: so somebody who times many names finds the same mixture for all.
    """
    cheap, dear = by_crypt("$1$", "x"), by_crypt("$6$", "x", 20_000)
    small = passwd(f"default:a:{cheap}:b1:", name="small")
    large = passwd(*(f"default:b{number}:{dear}:b1:" for number in range(3)), name="large")
    verified = verifications(monkeypatch)
    for modules in ([small, large], [large, small]):
        for user in ("a", "b1"):
            asked(modules, user)
        assert verified == [cheap, dear]
        verified.clear()
        for number in range(400):
            asked(modules, f"nobody{number}")
        assert len(verified) == 400
        assert 50 < verified.count(cheap) < 150  # 100 are expected
        first = list(verified)
        verified.clear()
        for number in range(400):
            asked([module.reload() for module in modules], f"nobody{number}")
        assert verified == first
        verified.clear()


def test_an_unknown_user_takes_the_time_of_one_in_the_second_module(passwd):
    """Two files whose hashes differ in cost by far: the unknown users' times are those of the users that there are."""
    cheap = passwd(f"default:cheap:{by_crypt('$6$', 'joe', 1000)}:b1:", name="cheap")
    dear = passwd(*(f"default:dear{n}:{by_crypt('$6$', 'joe', 40_000)}:b1:" for n in range(60)), name="dear")
    spent = medians([cheap, dear], ["cheap", "dear1", *(f"nobody{number}" for number in range(12))])
    print({user: f"{seconds * 1000:.1f} ms" for user, seconds in spent.items()})
    assert spent["dear1"] > 4 * spent["cheap"]
    # One in 61 of all names gets the cheap decoy: of these twelve, none or one.
    slow = [user for user, seconds in spent.items() if user.startswith("nobody") and seconds > spent["dear1"] / 2]
    assert len(slow) >= 11


def test_everyone_costs_one_verification(passwd, monkeypatch):
    """Known with the right or a wrong password, locked, unknown, and unknown to two modules: one each."""
    module = passwd("default:joe:{PLAIN}joe:b1:joe", "default:locked:!:b1:")
    verified = verifications(monkeypatch)
    for user, word in (("joe", "joe"), ("joe", "x"), ("locked", "x"), ("nobody", "x")):
        ask([module, module], question(user, word))
        assert verified == ["{PLAIN}joe"], user
        verified.clear()


def test_unknown_users_get_the_forms_of_the_known_ones(passwd, monkeypatch):
    """In the same shares as in the file; the same name the same form, also in another worker and after a reload."""
    module = passwd(
        *(f"default:plain{number}:{{PLAIN}}x:b1:" for number in range(30)),
        *(f"default:crypt{number}:{by_crypt('$1$', 'x')}:b1:" for number in range(10)),
    )
    verified = verifications(monkeypatch)

    def forms(module):
        verified.clear()
        for number in range(400):
            ask([module], question(f"nobody{number}"))
        return [passwords.form_of(stored) for stored in verified]

    first = forms(module)
    assert len(first) == 400
    assert set(first) == {"{PLAIN}", "$1$"}
    assert 50 < first.count("$1$") < 150  # 100 are expected; the names are fixed, the salts are not
    assert forms(module.reload()) == first


def test_nobody_can_tell_which_decoy_a_name_has(passwd, monkeypatch):
    """It hangs on salts that only the file has: two sites with the same shares give other decoys to the same names."""
    verified = verifications(monkeypatch)

    def decoys():
        module = passwd("default:one:{PLAIN}x:b1:", f"default:two:{by_crypt('$1$', 'x')}:b1:")
        verified.clear()
        for number in range(64):
            ask([module], question(f"nobody{number}"))
        return [passwords.form_of(stored) for stored in verified]

    assert decoys() != decoys()


def test_a_file_without_users_has_nothing_to_hide(passwd):
    """Empty, or all locked: nobody is known, and nothing is spent."""
    assert ask([passwd()], question("joe")) == NobodyKnows()
    assert ask([passwd("default:joe:!:b1:")], question("joe")) == RefusedLogin("main")


def test_no_text_of_the_module_holds_a_secret(passwd):
    """Neither of the module, nor of its answers, nor of the parts it is made of."""
    module = passwd(f"default:joe:{{PLAIN}}{CANARY}:b1:joe:{CANARY}")
    answers = [
        module.check(question("joe", CANARY)),
        module.check(question("joe")),
        module.check(question("ann", CANARY)),
    ]
    decision = ask([module], question("joe", CANARY))
    parts = [repr(value) for value in vars(module).values()]
    assert CANARY not in "".join([repr(module), repr(answers), repr(decision), *parts])


def test_a_user_takes_little_memory(passwd):
    """Ten thousand users take the file and some octets each, not a dictionary."""
    filler = "x" * 86
    users = [f"default:user{number}@example.org:$6$abcdefgh${filler}:b1:3/2d/user{number}" for number in range(10_000)]
    passwd(users[0])
    tracemalloc.start()
    try:
        module = passwd(*users)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert isinstance(module.check(question("user77@example.org")), Refused)
    assert held < passwd.path.stat().st_size + 60 * len(users)
