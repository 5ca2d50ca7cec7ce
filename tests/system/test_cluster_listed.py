"""`sessions cluster`: who is logged in where, over two proxies that limit nobody, by a real server of Redis."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patient
from tests.system.site import PopClient, wait_until
from tests.system.test_cluster import LEASE, Member, cluster


def listed(member: Member) -> dict[str, str]:
    """The proxy at which each user is logged in."""
    rows: list[dict[str, Any]] = member.proxy.json("sessions cluster")
    return {row["user"]: row["proxy"] for row in rows}


def test_who_has_no_limit_is_listed_too(tmp_path: Path) -> None:
    """While he is logged in, a moment later, and no login waits for it: a server that stands still keeps nobody, and
    learns who has come and gone meanwhile. Who is connected only is not listed.
    """
    with cluster(tmp_path, 2) as (server, (one, other)), contextlib.ExitStack() as stack:
        for member in (one, other):
            member.proxy.said("set usersessions off")
        clients = {}
        for member, user in ((one, "joe"), (other, "ann")):
            clients[user] = stack.enter_context(PopClient(member.port))
            assert clients[user].log_in(user).startswith(b"+OK")
        stack.enter_context(PopClient(one.port)).greeted()
        both = {"joe": "p0", "ann": "p1"}
        wait_until(lambda: listed(one) == listed(other) == both, "both are listed at both")
        (row,) = [row for row in one.proxy.json("sessions cluster") if row["user"] == "ann"]
        (session,) = other.proxy.sessions()
        assert row == {"sid": session["sid"], "proxy": "p1", "namespace": "default", "user": "ann"}
        assert clients["joe"].ask("QUIT").startswith(b"+OK")
        wait_until(lambda: listed(other) == {"ann": "p1"}, "who has gone is taken out")

        server.signal(signal.SIGSTOP)
        assert stack.enter_context(PopClient(one.port)).log_in("eve").startswith(b"+OK")
        wait_until(lambda: one.alone() and other.alone(), "the server is lost")
        assert stack.enter_context(PopClient(one.port)).log_in("bob").startswith(b"+OK")
        server.signal(signal.SIGCONT)
        found = {"ann": "p1", "eve": "p0", "bob": "p0"}
        wait_until(lambda: listed(other) == found, "all who came meanwhile are listed", patient(20))


def test_a_proxy_that_ends_takes_its_sessions_out(tmp_path: Path) -> None:
    """Also if the server did not answer just now, and that it does again was not found out yet."""
    with cluster(tmp_path, 2) as (server, (one, other)), contextlib.ExitStack() as stack:
        other.proxy.said("set usersessions off")
        assert stack.enter_context(PopClient(other.port)).log_in("ann").startswith(b"+OK")
        wait_until(lambda: listed(one) == {"ann": "p1"}, "she is listed")
        server.signal(signal.SIGSTOP)
        wait_until(lambda: other.alone(), "the server is lost")
        server.signal(signal.SIGCONT)
        other.proxy.said("shutdown all")
        wait_until(lambda: listed(one) == {}, "she is taken out", LEASE / 2)


@pytest.mark.nightly
@pytest.mark.timeout(patient(120))
def test_the_list_goes_on_and_ends_by_itself(tmp_path: Path) -> None:
    """Who stays is told again before that ends; a proxy that is killed has nobody in the list half a minute later."""
    with cluster(tmp_path, 2) as (_server, (one, other)), contextlib.ExitStack() as stack:
        for member, user in ((one, "joe"), (other, "ann")):
            member.proxy.said("set usersessions off")
            assert stack.enter_context(PopClient(member.port)).log_in(user).startswith(b"+OK")
        wait_until(lambda: listed(one) == {"joe": "p0", "ann": "p1"}, "both are listed")
        other.proxy._kill()
        wait_until(lambda: listed(one) == {"joe": "p0"}, "one has ended, the other goes on", LEASE + patient(5))
        assert listed(one) == {"joe": "p0"}
