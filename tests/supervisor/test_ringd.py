"""ringd's wire format and its book of who holds what, on real sockets; the peers are on the same loop."""

import argparse
import contextlib
import errno
import os
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ringd import keeper as ringkeeper
from supervisor.ringd import wire as ringwire
from supervisor.ringd.keeper import name_of
from supervisor.ringd.main import ports
from supervisor.ringd.wire import (
    Claim,
    Denied,
    Granted,
    Message,
    Quiet,
    Release,
    Restore,
    WireFault,
    decode,
    encode,
    name_of_end,
    program_of,
)
from supervisor.runtime.loop import Loop
from supervisor.sockets.listener import Address
from supervisor.sockets.sources import listen
from tests.patience import patient
from tests.supervisor.ringdesk import Console, is_open, loopback
from tests.supervisor.turning import closed_loop, turn_until
from tests.system.site import LOOPBACK, free_port

V4 = st.builds(
    lambda host, port: Address(int(socket.AF_INET), (str(host), port), False),
    st.ip_addresses(v=4),
    st.integers(1, 65535),
)
V6 = st.builds(
    lambda host, port, dual: Address(
        int(socket.AF_INET6), (socket.inet_ntop(socket.AF_INET6, host.packed), port), dual
    ),
    st.ip_addresses(v=6),
    st.integers(1, 65535),
    st.booleans(),
)
NAMES = st.lists(st.integers(0, 2**64 - 1), max_size=ringwire.MOST_NAMES).map(tuple)
BACKLOG = st.integers(0, ringwire.MOST_BACKLOG)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Claim, V4 | V6, st.integers(1, ringwire.MOST_SOCKETS), BACKLOG),
    st.builds(Restore, V4 | V6, BACKLOG),
    st.builds(Quiet, NAMES),
    st.builds(Release, NAMES),
    st.builds(Granted, st.integers(0, ringwire.MOST_SOCKETS)),
    st.builds(Denied, st.integers(0, 65535), st.text(st.characters(codec="ascii"), max_size=200)),
)


@given(MESSAGES, st.integers(0, 2**32 - 1))
def test_what_is_said_is_heard(message: Message, sequence: int) -> None:
    """Every message comes out as it went in, in a packet that is not too long."""
    packet = encode(message, sequence)
    assert len(packet) <= ringwire.LONGEST_PACKET
    assert decode(packet) == (message, sequence)


@given(st.binary(max_size=80), st.integers(0, 7))
def test_anything_else_is_a_fault(noise: bytes, kind: int) -> None:
    """Noise, also after a good head, is a message or a WireFault, and never another error."""
    for packet in (noise, struct.pack("!4sBBI", b"RING", ringwire.VERSION, kind, 1) + noise):
        try:
            message, sequence = decode(packet)
        except WireFault:
            continue
        if not isinstance(message, Denied):
            assert encode(message, sequence) == packet


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "0 octets"),
        (b"GET / HTTP/1.1\r\n", "not a packet for ringd"),
        (b"RING\x02\x01\0\0\0\0", "version 2"),
        (b"RING\x01\x09\0\0\0\0", "unknown kind 9"),
        (b"RING\x01\x03\0\0\0\0abc", "3 octets of names"),
        (bytes(3000), "3000 octets"),
        (encode(Claim(Address(2, ("127.0.0.1", 1), False), 1, 1)).replace(b"\x04\0\0\x01", b"\x04\0\0\0"), "0 where 1"),
        (encode(Claim(Address(2, ("127.0.0.1", 1), False), 1, 1)).replace(b"\x04\0", b"\x05\0"), "no kind"),
    ],
)
def test_faults_are_named(packet: bytes, reason: str) -> None:
    """The text says what is wrong with a packet."""
    with pytest.raises(WireFault, match=reason):
        decode(packet)


def test_ports_in_words() -> None:
    """Lists and ranges; what is neither is refused."""
    assert ports("110,995,8000-8099") == [range(110, 111), range(995, 996), range(8000, 8100)]
    for faulty in ("", "0", "110-", "-110", "200-100", "70000", "pop3", "1,,2", "1-2-3"):
        with pytest.raises(argparse.ArgumentTypeError):
            ports(faulty)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closed_loop() as loop:
        yield loop


@pytest.fixture
def console(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A keeper that is grown up."""
    monkeypatch.setattr(ringkeeper, "SETTLING_SECONDS", 0.0)
    console = Console(loop, tmp_path)
    yield console
    console.close()


def test_everybody_gets_the_same(console: Console) -> None:
    """The second one that claims an address gets the first one's sockets, all of them, however many it wants."""
    port = free_port()
    first = console.peer().claim(port, wanted=3)
    assert len(set(first)) == 3
    assert console.peer().claim(port, wanted=1) == first
    assert console.peer().claim(port, wanted=5) == first


def test_a_holder_that_is_alone_gets_more(console: Console) -> None:
    """Alone it may add sockets to its address; the old ones stay."""
    port = free_port()
    peer = console.peer()
    first = peer.claim(port, wanted=1)
    assert peer.claim(port, wanted=3)[:1] == first
    assert len(console.peer().claim(port)) == 3


def test_more_than_one_packet_of_sockets(console: Console) -> None:
    """As many as a thousand workers need."""
    assert len(set(console.peer().claim(free_port(), wanted=1000))) == 1000


def test_a_lost_holder_leaves_its_sockets(console: Console) -> None:
    """It ends without giving up: the port stays open, and the next one gets the same sockets, with who waits there."""
    port = free_port()
    peer = console.peer()
    names = peer.claim(port, wanted=2)
    peer.close()
    turn_until(console.loop, lambda: console.log("ring_unclaimed"))
    with socket.create_connection((LOOPBACK, port)):
        heir = console.peer()
        assert heir.claim(port) == names
        accepted = 0
        for listening in heir.sockets:
            try:
                listening.accept()[0].close()
                accepted += 1
            except BlockingIOError:
                pass
        assert accepted == 1


def test_what_is_given_up_is_closed_by_the_last(console: Console) -> None:
    """One of two gives an address up: it stays. The other one does too: it is closed."""
    port = free_port()
    one, other = console.peer(), console.peer()
    names = one.claim(port)
    other.claim(port)
    one.link.send(Release(tuple(names)))
    one.close()
    other.claim(free_port())  # an answer: what was said before has been heard
    assert is_open(port)
    other.link.send(Release(tuple(names)))
    other.close()
    turn_until(console.loop, lambda: console.log("ring_closed"))
    assert not is_open(port)


def test_another_program_is_denied(console: Console) -> None:
    """Its clients would come to either. Another instance is none, nor who does not say what he is; and when the first
    program has gone the address is free.
    """
    port = free_port()
    proxy = console.peer("pproxy")
    names = proxy.claim(port)
    store = console.peer("pserv")
    assert store.claim(port) == []
    reason = f"port {port} is lent to pproxy, and clients would come to either of you"
    assert store.heard == [(Denied(0, reason), 7)]
    assert console.log("ring_denied")[0]["reason"] == reason
    assert console.peer("pproxy").claim(port) == console.peer().claim(port) == names
    assert store.claim(free_port()) != []
    for peer in console.peers:
        if peer is not store:
            peer.close()
    turn_until(console.loop, lambda: console.log("ring_unclaimed"))
    assert store.claim(port) == names


@pytest.mark.parametrize("end", ["", "/run/x", b"", b"\0popular-pproxy-", b"\0popular--ab", b"\0other-pproxy-ab"])
def test_an_end_that_names_no_program(end: object) -> None:
    """Whoever is of another release, or a stranger, is denied nothing on that account."""
    assert program_of(end) == ""
    assert program_of(name_of_end("pserv")) == "pserv"


def test_silence_only_where_nobody_else_listens(console: Console) -> None:
    """Quiet makes deaf what its holder holds alone; and a new claim makes it hear again."""
    port = free_port()
    one, other = console.peer(), console.peer()
    names = tuple(one.claim(port))
    other.claim(port)
    one.link.send(Quiet(names))
    one.claim(free_port())  # an answer: Quiet has been obeyed
    assert is_open(port)
    other.close()
    one.link.send(Quiet(names))
    one.claim(free_port())
    with socket.socket() as probe:
        probe.settimeout(0.3)
        with pytest.raises(TimeoutError):
            probe.connect((LOOPBACK, port))
    console.peer().claim(port)
    assert is_open(port)


def test_what_another_one_holds_cannot_be_given_up(console: Console) -> None:
    """Names that were guessed do nothing."""
    port = free_port()
    names = console.peer().claim(port)
    thief = console.peer()
    thief.link.send(Quiet(tuple(names)))
    thief.link.send(Release((*names, 1, 2**64 - 1)))
    thief.claim(free_port())
    assert is_open(port)


def test_a_rest_from_which_nobody_would_accept_is_closed(console: Console) -> None:
    """One holder has given up half of an address, the other one dies: the half is closed, clients do not wait there in
    vain.
    """
    port = free_port()
    one, other = console.peer(), console.peer()
    names = one.claim(port, wanted=2)
    other.claim(port)
    one.link.send(Release((names[1],)))
    one.claim(free_port())
    other.close()
    turn_until(console.loop, lambda: console.log("ring_closed"))
    assert console.log("ring_closed")[0]["left"] == "1"
    assert console.peer().claim(port) == names[:1]


def test_unclaimed_too_long(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `keep` seconds without a holder the port is closed, but not if somebody claims it in time."""
    monkeypatch.setattr(ringkeeper, "SETTLING_SECONDS", 0.0)
    console = Console(loop, tmp_path, keep=0.15)
    kept, forgotten = free_port(), free_port()
    peer = console.peer()
    peer.claim(kept)
    peer.claim(forgotten)
    peer.close()
    turn_until(loop, lambda: len(console.log("ring_unclaimed")) == 2)
    console.peer().claim(kept)
    turn_until(loop, lambda: console.log("ring_expired"))
    assert (is_open(kept), is_open(forgotten)) == (True, False)
    console.close()


def test_ports_that_are_not_allowed(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denied with the reason; neither claimed nor restored."""
    monkeypatch.setattr(ringkeeper, "SETTLING_SECONDS", 0.0)
    console = Console(loop, tmp_path, allowed="110,995")
    peer = console.peer()
    assert peer.claim(8110) == []
    assert peer.heard == [(Denied(0, "port 8110 is not among those that ringd may open"), 7)]
    with listen(loopback(free_port()), 1) as own:
        peer.link.send(Restore(Address.found(own), 1), 1, [own])
        peer.wait_for_loss()
    console.close()


def test_what_the_system_refuses(console: Console) -> None:
    """The errno comes back, and nothing stays open; the next claim is answered."""
    with socket.create_server((LOOPBACK, 0)) as other:
        peer = console.peer()
        assert peer.claim(other.getsockname()[1], wanted=3) == []
    assert isinstance(peer.heard[0][0], Denied)
    assert peer.heard[0][0].number == 98
    assert len(peer.claim(free_port())) == 1


def test_another_backlog(console: Console) -> None:
    """The next claim sets it anew: so many clients may wait from then on."""
    port = free_port()
    peer = console.peer()
    peer.claim(port, backlog=1)
    peer.claim(port, backlog=50)
    clients = [socket.create_connection((LOOPBACK, port), patient(1)) for _ in range(20)]
    for client in clients:
        client.close()


def test_restored_sockets(loop: Loop, tmp_path: Path) -> None:
    """Two holders come back to a new ringd with copies of the same sockets; a third one, which claims before them,
    waits for them, and gets the same.
    """
    port = free_port()
    sockets = [listen(loopback(port), 8) for _ in range(2)]
    console = Console(loop, tmp_path)
    early, one, other = console.peer(), console.peer(), console.peer()
    early.link.send(Claim(loopback(port), 4, 8), 1)
    one.link.send(Restore(loopback(port), 8), 1, sockets)
    other.link.send(Restore(loopback(port), 8), 1, sockets[::-1])
    turn_until(loop, lambda: bool(early.heard))
    assert sorted(map(name_of, early.sockets)) == sorted(map(name_of, sockets))
    for listening in sockets:
        listening.close()
    console.close()
    early.close()
    assert not is_open(port)


@pytest.mark.parametrize("fault", ["deaf", "elsewhere", "datagram", "pipe", "nothing", "claimed"])
def test_bad_descriptors(console: Console, fault: str) -> None:
    """What is no listening socket of the address ends the connection; others are served, and no descriptor is kept."""
    port = free_port()
    console.peer().claim(port)
    before = len(os.listdir("/proc/self/fd"))
    peer = console.peer()
    with (
        socket.socket() as deaf,
        listen(loopback(free_port()), 1) as elsewhere,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        kinds = {"deaf": [deaf], "elsewhere": [elsewhere], "datagram": [datagram], "nothing": []}
        if fault == "pipe":
            read_end, write_end = os.pipe()
            socket.send_fds(peer.end, [encode(Restore(loopback(port), 1))], [read_end])
            os.close(read_end)
            os.close(write_end)
        elif fault == "claimed":
            peer.link.send(Claim(loopback(port), 1, 1), 1, [elsewhere])
        else:
            peer.link.send(Restore(loopback(port), 1), 1, kinds[fault])
        peer.wait_for_loss()
    assert console.log("ring_peer_fault")
    peer.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(console.peer().claim(port)) == 1


@pytest.mark.parametrize("packet", [b"nonsense", b"RING\x02\x01\0\0\0\0", encode(Granted(0)), bytes(9000)])
def test_nonsense_ends_its_own_connection(console: Console, packet: bytes) -> None:
    """Bad packets, another version, what only ringd says: cut off, logged, and all others are served."""
    peer = console.peer()
    peer.end.send(packet)
    peer.wait_for_loss()
    assert len(console.log("ring_peer_fault")) == 1
    assert len(console.peer().claim(free_port())) == 1


def test_one_that_does_not_read(console: Console) -> None:
    """Its answers are not piled up for ever: it is cut off, others are served."""
    port = free_port()
    deaf = console.peer()
    console.loop.unwatch(deaf.end)
    deaf.end.setblocking(False)
    for _ in range(3000):
        try:
            deaf.end.send(encode(Claim(loopback(port), 1, 1), 1))
        except BlockingIOError:
            console.loop.run_once()
        except OSError:
            break
    turn_until(console.loop, lambda: console.log("ring_peer_fault"))
    assert "does not read" in console.log("ring_peer_fault")[0]["reason"]
    assert len(console.peer().claim(port)) == 1


def test_too_many_programs(console: Console) -> None:
    """The 65th is turned away with a reason."""
    peers = [console.peer() for _ in range(ringkeeper.MOST_HOLDERS + 1)]
    turn_until(console.loop, lambda: peers[-1].lost is not None)
    assert peers[-1].heard == [(Denied(0, "too many programs are connected"), 0)]
    assert len(peers[0].claim(free_port())) == 1


@contextlib.contextmanager
def _few_descriptors(more: int) -> Iterator[None]:
    """Within it so many more can be open, and if none all numbers below are taken too."""
    probe, before = os.open(os.devnull, os.O_RDONLY), resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 1 + more, before[1]))
    try:
        while not more:
            try:
                taken.append(os.dup(probe))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for one in [probe, *taken]:
            os.close(one)


def test_sockets_that_cannot_be_copied(console: Console) -> None:
    """A claim whose sockets can be opened and not lent for want of descriptors is denied, and leaves nothing open."""
    peer, port = console.peer(), free_port()
    assert len(peer.claim(free_port())) == 1
    with _few_descriptors(60):
        assert peer.claim(port, wanted=40) == []
    assert peer.heard[-1][0] == Denied(errno.EMFILE, os.strerror(errno.EMFILE))
    assert not is_open(port)
    assert len(peer.claim(port, wanted=40)) == 40


def test_no_descriptor_for_one_more(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects then waits; the log says so once, the loop does not turn for nothing, and he is served as soon
    as there is room.
    """
    monkeypatch.setattr(ringkeeper, "PAUSE_SECONDS", 0.1)
    assert len(console.peer().claim(free_port())) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as late:
        with _few_descriptors(0):
            late.connect(str(console.path))
            turns: list[None] = []
            console.loop.after(0.35, lambda: turns.append(None))
            count = 0
            while not turns:
                console.loop.run_once()
                count += 1
            assert count < 200  # else it is tens of thousands; turn_until has left a tick
        late.send(encode(Claim(loopback(free_port()), 1, 8), 1))
        turn_until(console.loop, lambda: len(console.log("ring_lent")) == 2)
    assert [entry["reason"] for entry in console.log("ring_paused")] == ["Too many open files"]
