"""maxsession: never more sessions than that, nobody turned away, and nothing lost when thousands have come and gone."""

import contextlib
import os
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system import crowd
from tests.system.site import PopClient, Proxy, free_port, wait_until

MANY = 2000


def _is_waiting(client: PopClient) -> bool:
    """Whether nothing was said to the client for a while; it is connected all the same."""
    client.connection.settimeout(0.4)
    try:
        client.line()
    except TimeoutError:
        client.connection.settimeout(patient(10.0))
        return True
    return False


def _assert_at_rest(proxy: Proxy, maxsession: int) -> None:
    """Every session has ended once, and every token is back."""
    view = proxy.state()
    ended = view.counters()["sessions_ended"]
    assert isinstance(ended, dict)
    assert view.counters()["sessions_started"] == sum(ended.values())
    assert view.sessions() == []
    assert view.gauges()["maxsession"] == maxsession


def test_two_thousand_sessions_at_once(tmp_path: Path) -> None:
    """Half of them logged in and joined to a backend, half of them before login, over two workers. Those beyond
    maxsession wait and are served when others leave; then the table is empty, and all tokens are there again.
    """
    port = free_port()
    with crowd.backend(tmp_path) as sink, Proxy(tmp_path, crowd.site(sink, port), options=["-n", "2500"]) as proxy:
        proxy.said(f"set maxsession {MANY}")
        for logged_in in (True, False):
            with (
                crowd.hold(port, MANY // 2, logged_in=True) as joined,
                crowd.hold(port, MANY // 2, logged_in=False),
                contextlib.ExitStack() as late,
            ):
                sessions = proxy.state().sessions()
                assert len(sessions) == MANY
                assert len({row["sid"] for row in sessions}) == MANY
                states = [row["state"] for row in sessions]
                assert states.count("passing mail on") == states.count("waiting for a user name") == MANY // 2
                shares = [sum(row["pid"] == pid for row in sessions) for pid in proxy.workers()]
                assert min(shares) > MANY // 5, f"one worker had nearly all: {shares}"

                clients = [late.enter_context(PopClient(port)) for _ in range(3)]
                assert all(map(_is_waiting, clients))
                assert len(proxy.state().sessions()) == MANY
                if logged_in:
                    joined.let_go()
                    assert joined.lost == 0
                    for client in clients:
                        assert client.log_in() == b"+OK logged in"
            wait_until(lambda: not proxy.state().sessions(), "the table is empty")
            wait_until(lambda: proxy.state().gauges()["session_state"] == 0, "the session state is OK again")
            _assert_at_rest(proxy, MANY)
        states = [entry.fields["state"] for entry in proxy.log("session_state")]
        assert "MAX" in states
        assert states[-1] == "OK"


def test_the_last_token_is_given_once(tmp_path: Path) -> None:
    """maxsession 1 over two workers: one session at a time, in any number of turns, and every client is served."""
    port = free_port()
    with (
        crowd.backend(tmp_path) as sink,
        Proxy(tmp_path, crowd.site(sink, port), options=["-n", "1"]) as proxy,
    ):
        load = crowd.start_sessions(port, 600, 50)
        most = 0
        while load.poll() is None:
            most = max(most, len(proxy.state().sessions()))
        assert crowd.finish(load)["errors"] == 0
        assert most == 1
        proxy.wait_until_quiet()
        _assert_at_rest(proxy, 1)


def test_maxsession_cannot_be_lowered_nor_pass_sessionlimit(tmp_path: Path) -> None:
    """Both are refused and say why; nothing has changed."""
    port = free_port()
    rc = [f"vserv conf v iface 127.0.0.1 port {port} state online"]
    with Proxy(tmp_path, rc, options=["-n", "5"]) as proxy, contextlib.ExitStack() as clients:
        # A sessionlimit below the usual maxsession is maxsession.
        assert proxy.said("show maxsession").lines == ["maxsession 5"]
        for number in (4, 6):
            refused = proxy.control(f"set maxsession {number}")
            assert not refused.ok
            assert "as many as sessionlimit allows, and cannot be changed any more" in refused.text
        for _ in range(5):
            assert clients.enter_context(PopClient(port)).line().startswith(b"+OK")
        assert _is_waiting(clients.enter_context(PopClient(port)))


def test_raising_maxsession_lets_in_who_waits(tmp_path: Path) -> None:
    """Three places more: three of the four that wait are served at once, and the fourth goes on waiting."""
    port = free_port()
    crowd.compiled()
    rc = [f"vserv conf v iface 127.0.0.1 port {port} state online"]
    with (
        Proxy(tmp_path, rc, options=["-n", "1003"]) as proxy,
        crowd.hold(port, 1000, logged_in=False),
        contextlib.ExitStack() as clients,
    ):
        waiting = [clients.enter_context(PopClient(port)) for _ in range(4)]
        assert all(map(_is_waiting, waiting))
        proxy.said("set maxsession 1003")
        wait_until(lambda: len(proxy.state().sessions()) == 1003, "three more are in")
        assert sum(map(_is_waiting, waiting)) == 1
        assert len(proxy.state().sessions()) == 1003


def test_a_full_proxy_is_reconfigured_like_any_other(tmp_path: Path) -> None:
    """With all tokens taken and clients waiting: a virtual server is taken offline, another is made, and no worker is
    lost over it, nor any session, nor who waits.
    """
    port, other = free_port(), free_port()
    rc = [f"vserv conf v iface 127.0.0.1 port {port} state online", f"vserv conf w iface 127.0.0.1 port {other}"]
    with Proxy(tmp_path, rc, options=["-n", "4"]) as proxy, contextlib.ExitStack() as clients:
        inside = [clients.enter_context(PopClient(port)) for _ in range(4)]
        assert all(client.greeted().startswith(b"+OK") for client in inside)
        waiting = clients.enter_context(PopClient(port))
        assert _is_waiting(waiting)
        workers = proxy.workers()
        proxy.said("vserv conf w state online")
        proxy.said("vserv conf v state offline")
        assert proxy.workers() == workers
        assert all(client.ask("NOOP").startswith((b"+OK", b"-ERR")) for client in inside)
        inside[0].close()
        assert waiting.line().startswith(b"+OK")
        waiting.close()
        with PopClient(other) as client:
            assert client.line().startswith(b"+OK")


def test_a_full_proxy_drains(tmp_path: Path) -> None:
    """`shutdown delayed` with all tokens taken is answered, and the proxy ends with the last session."""
    port = free_port()
    rc = [f"vserv conf v iface 127.0.0.1 port {port} state online"]
    with Proxy(tmp_path, rc, options=["-n", "2"]) as proxy:
        with PopClient(port) as one, PopClient(port) as two:
            assert one.greeted().startswith(b"+OK")
            assert two.greeted().startswith(b"+OK")
            with PopClient(port) as third:
                assert _is_waiting(third)
                proxy.said("shutdown delayed")
            assert two.ask("QUIT").startswith(b"+OK")
        proxy.process.wait(patient(10))


def test_a_table_that_fills_whole_pages_of_the_pipe(tmp_path: Path) -> None:
    """sessionlimit and maxsession of 16384 tokens, which fill the pipe to its last octet: sessions come and go."""
    port = free_port()
    rc = [f"vserv conf v iface 127.0.0.1 port {port} state online", "set maxsession 16384"]
    with Proxy(tmp_path, rc, options=["-n", "16384"]) as proxy:
        for _ in range(20):
            with PopClient(port) as client:
                assert client.ask("QUIT").startswith(b"+OK")
        assert proxy.wait_for_endings(20) == ["quit"] * 20


def _memory(pid: int) -> int:
    """KiB of the process that are resident. (Its private pages would also grow as forked ones are written to.)"""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:"))


@pytest.mark.slow
def test_twenty_thousand_sessions_leave_nothing(tmp_path: Path) -> None:
    """File descriptors and memory of master and workers are after twenty thousand sessions what they were before."""
    port = free_port()
    with crowd.backend(tmp_path) as sink, Proxy(tmp_path, crowd.site(sink, port)) as proxy:
        pids = [proxy.pid, *proxy.workers()]

        def descriptors() -> int:
            return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)

        def memory() -> int:
            return sum(map(_memory, pids))

        before = descriptors()
        crowd.run_sessions(port, 4000, 100)
        proxy.wait_until_quiet()
        warm = memory()
        crowd.run_sessions(port, 20_000, 100)
        proxy.wait_until_quiet()
        # The master may not have noticed yet that a client of the control socket left.
        wait_until(lambda: descriptors() <= before, f"{before} descriptors, not {descriptors()}")
        # 25 octets a session, over three processes: less than any object that would be left of each.
        assert memory() - warm < 512, f"{warm} → {memory()} KiB"
        assert proxy.state().counters()["logins"] == 24_000
        _assert_at_rest(proxy, 1000)


def test_a_thousand_commands_leave_nothing(tmp_path: Path) -> None:
    """Descriptors of all processes stay what they were over hundreds of changes, jobs and refusals."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface 127.0.0.1 port {port} state online"]) as proxy:
        pids = [proxy.pid, *proxy.workers()]

        def change() -> None:
            for word in ("offline", "online"):
                proxy.said(f"vserv conf v state {word}")
            assert not proxy.control("backend conf b host no-such-host.invalid").ok
            assert not proxy.control("pdm add m nothing").ok
            proxy.said("set capadir /tmp")

        def descriptors() -> list[int]:
            return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

        for _ in range(3):
            change()
        before = descriptors()
        for _ in range(20):
            change()
        # The master may not have noticed yet, here or above, that a client of the control socket left.
        wait_until(lambda: all(now <= then for now, then in zip(descriptors(), before, strict=True)), f"{before} again")
        assert proxy.workers() == pids[1:]
