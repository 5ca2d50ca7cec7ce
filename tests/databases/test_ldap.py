"""The module `ldap` where the first of two servers is gone, and where the directory has no such base."""

from collections.abc import Iterator

import pytest

from popular.pdm.contract import Authenticated, ModuleFailed, Question, Refused, Secret
from popular.pdm.libpdm_ldap import Ldap
from tests.databases.servers import PASSWORD, Slapd
from tests.system.wire import LOOPBACK, free_port


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


def test_a_bind_by_name_proves_the_password_and_an_empty_one_proves_nothing(server: Slapd) -> None:
    module = Ldap("m", [server.arguments()[0], "binduser", "uid=%u,ou=people,dc=example,dc=org", "backend", "store1"])
    assert isinstance(module.check(question()), Authenticated)
    for password in ("", "wrong"):
        assert isinstance(module.check(question(password)), Refused)
