"""Which certificate answers which name; pure."""

import dataclasses

from popular.tls.certificate import Certificate
from popular.tls.contexts import certificates_beside, certificates_by_name, wildcard

NOW = 1000.0


def certificate(
    name: str, names: str, key_type: str = "EC P-256", begins: float = 0, ends: float = 2000
) -> Certificate:
    return Certificate(
        name,
        b"",
        b"",
        names=tuple(sorted(names.split())),
        key_type=key_type,
        not_before=begins,
        not_after=ends,
        serial=1,
        fingerprint=name,
    )


A = certificate("a", "a.org www.a.org")
A_RSA = certificate("a-rsa", "a.org www.a.org", "RSA 2048")
B = certificate("b", "b.org *.b.org")


def test_each_name_has_its_certificate() -> None:
    """A table of all names, wildcards as they are written."""
    assert certificates_by_name([A, B], NOW) == {"a.org": (A,), "www.a.org": (A,), "b.org": (B,), "*.b.org": (B,)}
    assert certificates_by_name([], NOW) == {}


def test_rsa_and_ecdsa_stand_side_by_side() -> None:
    """One of each kind for a name, in whatever order they came; a third kind beside them."""
    ed = certificate("a-ed", "a.org", "Ed25519")
    both = [certificates_by_name(those, NOW)["www.a.org"] for those in ([A_RSA, A], [A, A_RSA])]
    assert both == [(A, A_RSA)] * 2
    assert certificates_by_name([ed, A_RSA, A], NOW)["a.org"] == (A, ed, A_RSA)


def test_the_one_that_is_valid_longer() -> None:
    """The better of two of one kind; but not before it has begun, and an expired one only if there is no other."""
    longer = certificate("longer", "a.org", ends=3000)
    future = certificate("future", "a.org", begins=1001, ends=9000)
    expired = certificate("expired", "a.org", ends=10)
    assert certificates_by_name([A, longer, future, expired], NOW)["a.org"] == (longer,)
    assert certificates_by_name([A, longer, future, expired], 1001)["a.org"] == (future,)
    assert certificates_by_name([expired], NOW)["a.org"] == (expired,)


def test_a_kind_of_key_that_is_invalid_is_not_shown() -> None:
    """An expired EC certificate, or one that has not begun, does not stand beside a valid RSA one."""
    for name, begins, ends in (("expired", 0, 10), ("future", 1001, 9000)):
        invalid = certificate(name, "a.org www.a.org", begins=begins, ends=ends)
        assert certificates_by_name([invalid, A_RSA], NOW)["a.org"] == (A_RSA,)
        assert certificates_beside(invalid, [invalid, A_RSA], NOW) == (A_RSA,)


def test_a_valid_wildcard_before_an_expired_name() -> None:
    """A name whose certificates are all invalid gives way to a wildcard with a valid one, and to no other."""
    expired = certificate("expired", "mail.b.org mail.c.org", ends=10)
    assert certificates_by_name([expired, B], NOW) == {"mail.c.org": (expired,), "b.org": (B,), "*.b.org": (B,)}
    assert certificates_by_name([expired, B], 5)["mail.b.org"] == (expired,)
    assert certificates_by_name([expired, B], 2000).keys() == {"mail.b.org", "mail.c.org", "b.org", "*.b.org"}


def test_the_default_and_its_neighbours() -> None:
    """The certificate for whoever names nobody is accompanied by those with exactly its names."""
    other = certificate("other", "a.org", "RSA 4096")
    assert certificates_beside(A, [A, A_RSA, B, other], NOW) == (A, A_RSA)
    longer = dataclasses.replace(A, name="renewed", not_after=3000)
    assert certificates_beside(A, [A, longer], NOW) == (longer,)


def test_wildcards_stand_for_one_label() -> None:
    """The name in a certificate that a host name may match."""
    assert wildcard("mail.example.org") == "*.example.org"
    assert wildcard("a.b.example.org") == "*.b.example.org"
    assert wildcard("localhost") == "*."


def test_the_key_is_never_shown() -> None:
    """A certificate's repr has neither key nor chain."""
    shown = repr(dataclasses.replace(A, key=b"CANARY-KEY", chain=b"CANARY-CHAIN"))
    assert "CANARY" not in shown
    assert "a.org" in shown
