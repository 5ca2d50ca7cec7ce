"""The module `ldap`: the first of two servers is gone, the directory has no such base, keys of SCRAM are read."""

import asyncio
import base64
import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from popular.pdm import loader
from popular.pdm.contract import (
    Authenticated,
    KeysWanted,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
    Secret,
)
from popular.pdm.decision import NobodyKnows, ToProve
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.libpdm_ldap import Ldap
from popular.pdm.steps import Record
from popular.protocol.scram import keys_of
from tests.databases.servers import PASSWORD, SERVER_SECRET, Slapd
from tests.patience import patient
from tests.system.wire import LOOPBACK, free_port

KEYS = keys_of(PASSWORD.encode(), b"sixteen or more ", 5000)
assert KEYS is not None
_SALT, _STORED, _SERVER = (base64.b64encode(part).decode() for part in (KEYS.salt, KEYS.stored_key, KEYS.server_key))
STORED = f"SCRAM-SHA-256$5000:{_SALT}${_STORED}:{_SERVER}"


@pytest.fixture(scope="module")
def server() -> Iterator[Slapd]:
    with Slapd() as started:
        yield started


def question(password: str = PASSWORD) -> Question:
    return Question("192.0.2.1", "POP3", "default", "joe", Secret(password.encode()), "v")


def test_the_second_server_is_asked_where_the_first_is_gone(server: Slapd) -> None:
    """For the search and for the bind as the user."""
    url, *words = server.arguments()
    module = Ldap("m", [f"ldap://{LOOPBACK}:{free_port()},{url}", *words])
    assert isinstance(module.check(question()), Authenticated)
    assert isinstance(module.check(question("wrong")), Refused)


def test_a_base_that_is_not_there_is_no_unknown_user(server: Slapd) -> None:
    url, _base, _dn, *words = server.arguments()
    module = Ldap("m", [url, "base", "ou=gone,dc=example,dc=org", *words])
    with pytest.raises(ModuleFailed):
        module.check(question())


def test_what_fails_leaves_no_connection_behind(server: Slapd) -> None:
    """Until Python collects what an error's traceback holds, which may take long."""
    url, _base, _dn, *words = server.arguments()
    gone = f"ldap://{LOOPBACK}:{free_port()}"
    searching = Ldap("m", [url, "base", "ou=gone,dc=example,dc=org", *words])
    binding = Ldap("m", [f"{gone},{url}", "binduser", "uid=%u,ou=people,dc=example,dc=org", "backend", "store1"])
    lost = Ldap("m", [gone, *server.arguments()[1:]])
    errors = []
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        for module in (searching, binding, lost) * 3:
            try:
                module.check(question("wrong"))
            except ModuleFailed as error:
                errors.append(error)
        assert len(errors) == 6
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


def test_a_bind_by_name_proves_the_password_and_an_empty_one_proves_nothing(server: Slapd) -> None:
    module = Ldap("m", [server.arguments()[0], "binduser", "uid=%u,ou=people,dc=example,dc=org", "backend", "store1"])
    assert isinstance(module.check(question()), Authenticated)
    for password in ("", "wrong"):
        assert isinstance(module.check(question(password)), Refused)


def told(server: Slapd, entry: str) -> None:
    """Changes the directory."""
    url = server.arguments()[0]
    words = ["ldapmodify", "-x", "-H", url, "-D", "cn=admin,dc=example,dc=org", "-w", SERVER_SECRET]
    subprocess.run(words, input=entry.encode(), check=True, capture_output=True, timeout=patient(30))


def add_value(user: str, attribute: str, value: str) -> str:
    return f"dn: uid={user},ou=people,dc=example,dc=org\nchangetype: modify\nadd: {attribute}\n{attribute}: {value}\n\n"


def asked_for_keys(module: Ldap, user: str) -> object:
    wanted = KeysWanted("SCRAM-SHA-256", user.encode().ljust(64, b"s"))
    asked = Question("192.0.2.1", "POP3", "default", user, Secret(b""), "v", proof=wanted)
    return asyncio.run(decide([(Guarded(module), Asking(Terms(), Unheard()))], asked, Record()))


def test_keys_of_scram_are_read_of_an_attribute(server: Slapd) -> None:
    """Beside a password of another form; by a search account that may read them. Who has none, is unknown, or has a
    value that is none is shown what others are shown.
    """
    told(server, add_value("joe", "userPassword", "{SCRAM-SHA-256}" + STORED.removeprefix("SCRAM-SHA-256$")))
    told(server, add_value("joe@example.org", "userPassword", "SCRAM-SHA-256$5000:nonsense"))
    module = Ldap("m", [*server.arguments(), "scramattribute", "userPassword"])
    known = asked_for_keys(module, "joe")
    assert isinstance(known, ToProve)
    assert (known.keys, known.route.backend, known.route.target) == (KEYS, "store1", "mail/joe")
    assert isinstance(module.check(question()), Authenticated), "the password is tried by a bind as ever"
    unknown = asked_for_keys(module, "nobody")
    assert isinstance(unknown, NobodyKnows)
    assert unknown.keys is not None
    assert (len(unknown.keys.salt), unknown.keys.iterations) == (16, 5000), "as those of others"
    assert "is no keys" not in repr(asked_for_keys(module, "joe@example.org"))
    wanted = KeysWanted("SCRAM-SHA-256", bytes(64))
    with pytest.raises(QuestionFailed, match="the attribute userPassword"):
        module.check(question()._replace(user="joe@example.org", proof=wanted))
    module.close()


def test_an_attribute_that_cannot_be_read_has_keys_of_nobody(server: Slapd) -> None:
    """It looks the same to a search account that may not read it as one that nobody has."""
    module = Ldap("m", [*server.arguments(), "scramattribute", "authPassword"])
    known = asked_for_keys(module, "joe")
    assert isinstance(known, ToProve)
    assert known.keys.fit_nobody
    module.close()


@pytest.mark.parametrize(
    ("words", "told_of"),
    [(["binduser", "uid=%u", "backend", "b"], "wants `base DN`"), (["base", "dc=x", "backend", "b"], "")],
)
def test_where_keys_may_be_read(words: list[str], told_of: str) -> None:
    """Only where entries are read; and SCRAM is offered only with it."""
    words = ["ldap://127.0.0.1:1", *words]
    if told_of:
        with pytest.raises(ModuleFailed, match=told_of):
            Ldap("m", [*words, "scramattribute", "authPassword"])
    else:
        assert Ldap("m", words).takes == {"password"}
        module = loader.load(Path(loader.OWN_DIRECTORY), "ldap", "m", arguments=[*words, "scramattribute", "x"])
        assert module.takes == {"password", "scram"}
