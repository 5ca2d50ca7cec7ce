"""What a backend announces: the dialogue that finds it out, and how one worker uses the record that all share."""

import mmap
from collections import deque
from dataclasses import replace

import pytest

from popular.protocol.international import NOTHING, International
from popular.proxy.session.backend.announced import ASK_SECONDS, MISTRUST_SECONDS, Announced
from popular.proxy.session.backend.backend_login import START_TLS
from popular.proxy.session.backend.inquiry import CapaQuestion, GaveUp
from popular.proxy.settings.announced import ANNOUNCED, LONGEST, LONGEST_LANGUAGES
from popular.proxy.settings.backend import Backend
from supervisor.system import Clock
from supervisor.table.records import Records
from tests.proxy.session_rules import backend
from tests.table.sample import layout


def test_the_question() -> None:
    """Greeting, CAPA, the list; only what looks like a capability is kept, in whatever pieces it comes."""
    answer = b"+OK hi\r\n+OK\r\nTOP\r\nSASL PLAIN  X\r\nEXPIRE 60\r\n\x80\r\n.hidden\r\n.\r\n"
    for size in (1, 3, 1000):
        question = CapaQuestion(stls=False)
        assert question.hear(answer[:8]) == b"CAPA\r\n"
        rest = answer[8:]
        heard = [question.hear(rest[at : at + size]) for at in range(0, len(rest), size)]
        assert heard[-1] == ["TOP", "EXPIRE 60"]
        assert not any(heard[:-1])


def test_in_tls_it_is_asked_behind_the_handshake() -> None:
    """What is announced in clear is nobody's word."""
    question = CapaQuestion(stls=True)
    assert question.hear(b"+OK\r\n") == b"STLS\r\n"
    assert question.hear(b"+OK\r\n") is START_TLS
    assert question.tls_up() == b"CAPA\r\n"
    assert question.hear(b"+OK\r\nPIPELINING\r\n.\r\n") == ["PIPELINING"]


def test_a_backend_that_knows_no_capa_announces_nothing() -> None:
    """Its -ERR is an answer."""
    question = CapaQuestion(stls=False)
    question.hear(b"+OK\r\n")
    assert question.hear(b"-ERR what?\r\n") == []


@pytest.mark.parametrize(
    "replies",
    [
        [b"-ERR go away\r\n"],
        [b"+OK\r\n+OK\r\n"],
        [b"x" * 600],
        [b"+OK\r\n", b"+OK\r\n", *[b"TOP\r\n"] * 5000],
        [b"+OK\r\n", b"+OK\r\nT\0P\r\n"],
    ],
)
def test_nonsense_ends_the_question(replies: list[bytes]) -> None:
    """A refusal in the greeting, replies to nothing, lines and lists without end, a NUL."""
    question = CapaQuestion(stls=False)
    with pytest.raises(GaveUp):
        deque(map(question.hear, replies), maxlen=0)


class Site:
    """Two workers that share a record of one backend, and who was asked."""

    def __init__(self, clock: Clock, backend: Backend, index: int | None = 0) -> None:
        self.clock = clock
        shape = replace(layout(), records=(ANNOUNCED._replace(by="shop"),))
        self.records = Records(shape, memoryview(mmap.mmap(-1, shape.size)), ANNOUNCED.name)
        self.wall = 1.8e9
        self.asked: list[Announced] = []
        self.workers = [self.worker(backend, index) for _ in range(2)]

    def worker(self, backend: Backend, index: int | None = 0) -> Announced:
        return Announced(backend, index, self.records, clock=self.clock, ask=self.asked.append, wall=lambda: self.wall)

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wall += seconds


def test_one_worker_asks_and_all_know() -> None:
    """After a login, once a minute; until the answer is there, and where it does not hold PIPELINING, one waits."""
    site = Site(Clock(), backend("pop"))
    one, other = site.workers
    assert not one.pipelines()
    for worker in (one, other, one):
        worker.note_login()
    assert site.asked == [one]
    one.heard(["TOP", "pipelining", "X" * LONGEST, "UIDL"])
    assert one.pipelines()
    site.passes(1.1)
    assert other.pipelines()
    site.passes(ASK_SECONDS)
    other.note_login()
    one.note_login()
    assert site.asked == [one, other]
    other.heard(["TOP"])
    site.passes(1.1)
    assert not one.pipelines()
    assert not other.pipelines()


def test_who_does_not_keep_to_it_is_not_believed_for_a_while() -> None:
    """It is news once, for all workers; whatever it announces meanwhile. Later it has another chance."""
    site = Site(Clock(), backend("pop"))
    one, other = site.workers
    one.heard(["PIPELINING"])
    assert [one.mistrust(), other.mistrust(), one.mistrust()] == [True, False, False]
    site.passes(1.1)
    assert not other.pipelines()
    other.heard(["PIPELINING"])
    assert not other.pipelines()
    site.passes(MISTRUST_SECONDS + 2)
    assert one.pipelines()
    assert other.pipelines()


def test_what_was_heard_of_another_host_counts_for_nothing() -> None:
    """The backend has moved, or speaks TLS now: it is asked anew."""
    site = Site(Clock(), backend("pop"))
    site.workers[0].heard(["PIPELINING"])
    assert site.worker(backend("pop")).pipelines()
    for words in ({"port": 1112}, {"tls": "starttls"}, {"sendproxy": "v1"}):
        moved = site.worker(backend("pop").with_parameters(words))
        assert not moved.pipelines()
        site.asked.clear()
        moved.note_login()
        assert site.asked == [moved]


def test_on_and_off_ask_nobody() -> None:
    """Nor does a backend that speaks XPOP, or that has no record of its own."""
    for name, words, index, pipelines in (
        ("pop", {"pipelining": "on"}, 0, True),
        ("pop", {"pipelining": "off"}, 0, False),
        ("xpop", {}, 0, False),
        ("pop", {}, None, False),
    ):
        site = Site(Clock(), backend(name).with_parameters(words), index)
        site.workers[0].note_login()
        assert site.asked == []
        assert site.workers[0].pipelines() is pipelines
        assert not site.workers[0].mistrust()
        assert site.workers[0].pipelines() is pipelines


def test_a_backend_that_announces_lang_is_asked_for_its_languages() -> None:
    """In whatever pieces they come; what is no language is not kept."""
    answer = b"+OK\r\nLANG\r\nUTF8 USER\r\n.\r\n"
    languages = b"+OK listing\r\nde Deutsch\r\nen\r\n\x1b[31m\r\n.\r\n"
    for size in (1, 1000):
        question = CapaQuestion(stls=False)
        question.hear(b"+OK hi\r\n")
        said = [question.hear(answer[at : at + size]) for at in range(0, len(answer), size)]
        assert said[-1] == b"LANG\r\n"
        said = [question.hear(languages[at : at + size]) for at in range(0, len(languages), size)]
        assert said[-1] == ["LANG", "UTF8 USER"]
        assert question.languages == ["de Deutsch", "en"]


def test_a_backend_that_cannot_list_its_languages_has_none() -> None:
    """Its -ERR ends the question as its list would."""
    question = CapaQuestion(stls=False)
    for said in (b"+OK hi\r\n", b"+OK\r\nLANG\r\n.\r\n"):
        question.hear(said)
    assert question.hear(b"-ERR not now\r\n") == ["LANG"]
    assert question.languages == []


def test_all_workers_know_what_it_offers_of_utf8_and_lang() -> None:
    """As long as it is the same backend; what does not fit into the record is left out by whole lines."""
    site = Site(Clock(), backend("pop"))
    one, other = site.workers
    assert one.international() == NOTHING
    one.heard(["UTF8 USER", "LANG"], ["de Deutsch", "x" * LONGEST_LANGUAGES, "en English"])
    site.passes(1.1)
    assert other.international() == International(True, True, {"de": "de Deutsch", "en": "en English"})
    assert site.worker(backend("pop").with_parameters({"port": 1112})).international() == NOTHING
    one.heard(["TOP"])
    assert one.international() == NOTHING
