"""The module `master`: real files, real hashes, and the second round of the chain."""

import traceback

import pytest

from popular.pdm import passwords
from popular.pdm.contract import ModuleFailed, Question, Route, Secret, Unknown
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.loader import OWN_DIRECTORY, load
from tests.pdm.asking import ask
from tests.pdm.test_passwords import by_crypt

CANARY = "canary-4711"


def question(client_ip="192.0.2.7", password="open", namespace="default", user="joe"):
    return Question(client_ip, "POP3", namespace, user=user, password=Secret(password.encode()), vserv="v1")


@pytest.fixture
def master(tmp_path):
    """Opens the module with a file of these lines."""

    def opened(*lines, more=()):
        path = tmp_path / "masterauth.conf"
        path.write_text("".join(f"{line}\n" for line in lines))
        return load(OWN_DIRECTORY, "master", "m", arguments=[str(path), *more])

    opened.path = tmp_path / "masterauth.conf"  # type: ignore[attr-defined]
    return opened


@pytest.fixture
def module(master):
    return master(
        "# the postmaster's console",
        "",
        f"192.0.2.7:default:{by_crypt('$y$', 'open', 1)}",
        f"[2001:db8::7]:default:{by_crypt('$6$', 'open')}",
        "[::1]:other:{PLAIN}o:p:en",
        "127.0.0.1:default:{PLAIN}first",
        "127.0.0.1:default:{PLAIN}second",
        "192.0.2.8:default:!",
    )


@pytest.mark.parametrize(
    ("client_ip", "namespace", "password", "vouches"),
    [
        ("192.0.2.7", "default", "open", True),
        ("::ffff:192.0.2.7", "default", "open", True),
        ("::ffff:c000:207", "default", "open", True),
        ("2001:db8::7", "default", "open", True),
        ("2001:DB8:0:0::7", "default", "open", True),
        ("::1", "other", "o:p:en", True),
        ("127.0.0.1", "default", "first", True),
        ("127.0.0.1", "default", "second", True),
        ("192.0.2.7", "default", "Open", False),
        ("192.0.2.7", "default", "", False),
        ("192.0.2.7", "other", "open", False),
        ("192.0.2.7", "DEFAULT", "open", False),
        ("192.0.2.70", "default", "open", False),
        ("::192.0.2.7", "default", "open", False),
        ("2001:db8::8", "default", "open", False),
        ("::1", "default", "o:p:en", False),
        ("127.0.0.1", "default", "third", False),
        ("192.0.2.8", "default", "!", False),
    ],
)
def test_address_namespace_and_password_must_all_fit(module, client_ip, namespace, password, vouches):
    """The manual's rule; an address is the same address however it is written."""
    assert module.authenticate(question(client_ip, password, namespace), Route("b1")) is vouches


def test_a_mailbox_found_by_another_module_is_opened(module, tmp_path):
    """The route is the user's, with the flag M, under the user's own name."""
    users = tmp_path / "users"
    users.write_text("default:joe:{PLAIN}joe:b1:3/2d/joe\n")
    modules = [module, load(OWN_DIRECTORY, "passwd", "main", arguments=[str(users)])]
    assert ask(modules, question()) == Admitted(Route("b1", "3/2d/joe", flags="M"), "main", "m", vouched=True)
    assert ask(modules, question(password="joe")) == Admitted(Route("b1", "3/2d/joe"), "main", "main")
    assert ask(modules, question(client_ip="192.0.2.9")) == RefusedLogin("main")
    assert ask(modules, question(user="nobody")) == NobodyKnows()


def test_it_knows_nobody(module):
    """A master password alone opens nothing: some module must know the user."""
    assert isinstance(module.check(question()), Unknown)
    assert ask([module], question()) == NobodyKnows()


def test_an_unknown_user_costs_what_a_known_one_does(module, tmp_path, monkeypatch):
    """Where a master password counts, a wrong password of a known user is compared with it, too."""
    users = tmp_path / "users"
    users.write_text(f"default:joe:{by_crypt('$6$', 'joe')}:b1:\n")
    modules = [load(OWN_DIRECTORY, "passwd", "main", arguments=[str(users)]), module]
    verified, real = [], passwords.verify

    def counted(stored, password):
        verified.append(passwords.form_of(stored))
        return real(stored, password)

    monkeypatch.setattr(passwords, "verify", counted)
    for client_ip, masters in (("192.0.2.7", 1), ("127.0.0.1", 2), ("192.0.2.99", 0)):
        spent = []
        for user in ("joe", "nobody"):
            verified.clear()
            ask(modules, question(client_ip, "wrong", user=user))
            spent.append(sorted(verified))
        assert spent[0] == spent[1]
        assert len(spent[0]) == 1 + masters


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (CANARY, "IP:NAMESPACE:HASH is wanted"),
        (f"192.0.2.7:{CANARY}", "IP:NAMESPACE:HASH is wanted"),
        (f"::1:default:{{PLAIN}}{CANARY}", "IP is no address"),
        (f"2001:db8::7:default:{{PLAIN}}{CANARY}", "IP is no address"),
        (f"[::1:default:{{PLAIN}}{CANARY}", "IP:NAMESPACE:HASH is wanted"),
        (f"[::g]:default:{{PLAIN}}{CANARY}", "IP is no address"),
        (f"[192.0.2.7]:default:{{PLAIN}}{CANARY}", "IP is no address"),
        (f"192.0.2:default:{{PLAIN}}{CANARY}", "IP is no address"),
        (f"192.0.2.0/24:default:{{PLAIN}}{CANARY}", "IP is no address"),
        (f"192.0.2.7::{{PLAIN}}{CANARY}", "NAMESPACE is empty"),
        (f"192.0.2.7:de fault:{{PLAIN}}{CANARY}", "NAMESPACE is no id"),
        (f"192.0.2.7:default:{CANARY}", "HASH: this is no hash"),
        ("192.0.2.7:default:", "HASH: this is no hash"),
    ],
)
def test_a_faulty_line_is_skipped_and_named(master, line, text):
    """File, line number and what is wrong, without the hash; the others count. With `strict` nothing does."""
    lines = ("# comment", line, "192.0.2.7:default:{PLAIN}open")
    module = master(*lines)
    assert module.authenticate(question(), Route("b1"))
    assert module.notes[1].startswith(f"{master.path}:2: {text}")
    assert module.skipped == 1
    with pytest.raises(ModuleFailed) as caught:
        master(*lines, more=["strict"])
    assert str(caught.value) == module.notes[1]
    assert CANARY not in "".join([*module.notes, *traceback.format_exception_only(caught.value)])


def test_a_missing_file_is_named():
    """So is one file name too many."""
    with pytest.raises(ModuleFailed, match=r"\[FILE\] \[strict\] is wanted"):
        load(OWN_DIRECTORY, "master", "m", arguments=["a", "b"])
    with pytest.raises(ModuleFailed, match=r"/nowhere/masterauth\.conf cannot be read"):
        load(OWN_DIRECTORY, "master", "m", arguments=["/nowhere/masterauth.conf"])


def test_a_client_without_an_address_is_a_failure(module):
    """A text that is no address fits no line, but it means that something is wrong: nobody is turned away for it."""
    with pytest.raises(ModuleFailed):
        module.authenticate(question("unix:"), Route("b1"))


def test_a_reload_reads_anew_and_leaves_the_old_one_alone(module, master):
    """Also if it fails."""
    master.path.write_text("192.0.2.7:default:{PLAIN}new\n")
    successor = module.reload()
    assert successor.authenticate(question(password="new"), Route("b1"))
    assert not successor.authenticate(question(), Route("b1"))
    assert module.authenticate(question(), Route("b1"))
    master.path.write_text("x\n")
    with pytest.raises(ModuleFailed):
        successor.reload()
    assert successor.authenticate(question(password="new"), Route("b1"))
    assert (successor.ident, successor.arguments, successor.flags) == ("m", (str(master.path),), "M")
