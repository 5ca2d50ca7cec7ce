"""What stands in front of a module, each part alone: breaker, cache, servers, threads, comparison, arguments."""

import asyncio
import threading
import time
from typing import Any

import pytest

from popular.pdm import arguments
from popular.pdm.answercache import AnswerCache, CachedAnswer, to_keep
from popular.pdm.breaker import CLOSED, OPEN, TRYING, Breaker
from popular.pdm.contract import (
    UNKNOWN,
    AsyncModule,
    Authenticated,
    CannotTell,
    Module,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
    Route,
    Secret,
    Token,
    Unknown,
    UserLimits,
)
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard
from popular.pdm.servers import BadServer, placed, servers
from popular.pdm.shadow import CANNOT_TELL, DIFFERENT, SAME, compared
from popular.pdm.steps import AUTHENTICATE, CHECK, Step
from popular.pdm.threads import Threads
from tests.patience import patient

CANARY = "canary-4711"
KEPT_FOR = 9
HERE = Route("b1", "joe")


class Counted(Unheard):
    """Counts what is heard of threads."""

    def __init__(self):
        self.waiting = self.held = 0
        self.gone = []

    def waits(self, change):
        self.waiting += change

    def threads_held(self, _ident, change):
        self.held += change

    def dropped(self, why):
        self.gone.append(why)

    def run(self, threads, work, seconds, network="192.0.2.1/32"):
        return threads.run(work, seconds, network=network, events=self)


class Answering(AsyncModule):
    """Says, or raises, always the same."""

    ident, arguments = "m", ()

    def __init__(self, said):
        self._said = said

    async def check(self, _question):
        return said_or_raised(self._said)


class AnsweringInThread(Module):
    """Says, or raises, always the same, in a thread of its own."""

    ident, arguments = "m", ()

    def __init__(self, said):
        self._said = said

    def check(self, _question):
        return said_or_raised(self._said)


def said_or_raised(said):
    if isinstance(said, Exception):
        raise said
    return said


class InTurn(AsyncModule):
    """Gives these answers one after the other."""

    ident, arguments = "m", ()

    def __init__(self, answers):
        self._answers = answers

    async def check(self, _question):
        return self._answers.pop(0)


class Hanging(Module):
    """Answers when it may."""

    ident, arguments = "m", ()

    def __init__(self, go_on):
        self._go_on = go_on

    def check(self, _question):
        self._go_on.wait()
        return UNKNOWN

    def close(self):
        self._go_on.set()


def question(user="joe", password=CANARY, **more):
    known = {"namespace": "default", "vserv": "v", "client_ip": "192.0.2.1", "protocol": "POP3"} | more
    return Question(user=user, password=Secret(password.encode()), **known)


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_try():
    """An answer in between begins the count anew; a trial that fails begins the pause anew."""
    breaker = Breaker()
    rules: dict[str, Any] = {"most": 3, "pause": 10.0}
    assert not breaker.failed(0, **rules)
    breaker.answered()
    assert [breaker.failed(1, **rules) for _ in range(3)] == [False, False, True]
    assert (breaker.state, breaker.lets_ask(10.9)) == (OPEN, False)
    assert not breaker.failed(5, **rules), "who was asked before it opened"
    assert breaker.lets_ask(11), "the pause is over, and was not made longer"
    assert (breaker.state, breaker.lets_ask(11)) == (TRYING, False)
    assert not breaker.failed(12, **rules)
    assert (breaker.lets_ask(21.9), breaker.lets_ask(22)) == (False, True)
    breaker.given_up()
    assert breaker.lets_ask(22), "nothing was learned, so another one tries"
    assert breaker.answered()
    assert (breaker.state, breaker.lets_ask(22)) == (CLOSED, True)


@pytest.mark.parametrize(
    ("said", "opens"),
    [
        (ModuleFailed("no connection"), True),
        (ConnectionResetError("it has gone"), True),
        (TimeoutError(), True),
        (CannotTell("its word"), False),
        (QuestionFailed("one user"), False),
        (ValueError("one user"), False),
    ],
)
@pytest.mark.parametrize("kind", [Answering, AnsweringInThread])
def test_what_counts_for_the_breaker(kind, said, opens):
    """Lost connections and time-outs; not what a server that is there has said, nor what may be one user's fault."""

    async def tried():
        guard, how = Guarded(kind(said)), Asking(Terms(breaker=2), Unheard())
        for _ in range(3):
            answer = await guard.put(Step(guard.module, CHECK), question(), how)
            assert isinstance(answer, CannotTell)
        await guard.close()
        return guard.breaker.state

    assert asyncio.run(tried()) == (OPEN if opens else CLOSED)


@pytest.mark.parametrize("kind", [Answering, AnsweringInThread])
def test_who_vouches_for_nobody_is_not_tried_by_the_second_round(kind):
    """Whom another module refuses, he says nothing of: that is no answer, and ends no row of failures, nor a pause. For
    so long the refused hear what those hear whom nobody knows: nobody can tell.
    """

    async def tried():
        guard, how = Guarded(kind(ModuleFailed("it is down"))), Asking(Terms(breaker=2, pause=0.02), Unheard())
        check, second = Step(guard.module, CHECK), Step(guard.module, AUTHENTICATE, HERE)
        said = [await guard.put(second, question(), how)]
        for step in (check, second, check, second):
            said.append(await guard.put(step, question(), how))
        state = guard.breaker.state
        await asyncio.sleep(0.03)
        said.append(await guard.put(second, question(), how))
        await guard.close()
        return [type(one) for one in said], state, guard.breaker.state

    said, opened, then = asyncio.run(tried())
    assert said == [bool, CannotTell, CannotTell, CannotTell, CannotTell, bool]
    assert (opened, then) == (OPEN, OPEN)


def test_a_breaker_of_zero_never_opens():
    """However often the module fails."""
    breaker = Breaker()
    assert not any(breaker.failed(0, most=0, pause=10) for _ in range(1000))
    assert breaker.lets_ask(0)


def test_a_cached_answer_is_found_by_all_that_it_depends_on():
    """Another value of any of it is another key; the address only where the module uses it."""
    cache = AnswerCache(b"k" * 32)
    others = [
        question(user="ann"),
        question(password="other"),
        question(namespace="ns"),
        question(vserv="w"),
        question(certificate_name="joe"),
        question(protocol="POP3s"),
        question()._replace(token=Token("XOAUTH2", Secret(CANARY.encode()))),
        question(user="joedefault", namespace=""),
    ]
    keys = {cache.key(one, by_address=False) for one in [question(), *others]}
    assert len(keys) == 1 + len(others)
    near, far = question(), question(client_ip="192.0.2.2")
    assert cache.key(near, by_address=False) == cache.key(far, by_address=False)
    assert cache.key(near, by_address=True) != cache.key(far, by_address=True)
    assert cache.key(near, by_address=False) != AnswerCache(b"l" * 32).key(near, by_address=False)


def test_a_cache_is_bounded_and_forgets_who_was_not_asked_for():
    """The one that was asked for last stays."""
    cache = AnswerCache(b"k")
    for name in (b"a", b"b", b"c"):
        cache.find(b"a")
        cache.keep(name, CachedAnswer(UNKNOWN, ("ns", "u"), since=0, seconds=KEPT_FOR), most=2, flushes=0)
    assert len(cache) == 2
    assert cache.find(b"b") is None
    assert cache.find(b"a") is not None


def test_an_answer_that_comes_after_a_flush_is_not_kept():
    """It may be from before."""
    cache = AnswerCache(b"k")
    before = cache.flushes
    cache.flush("somebody")
    cache.keep(b"a", CachedAnswer(UNKNOWN, ("ns", "u"), since=0, seconds=KEPT_FOR), most=2, flushes=before)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "since", [Refused(HERE), Refused(HERE, locked=True), Refused(Route("b1", secret=Secret(b"x"))), UNKNOWN]
)
@pytest.mark.parametrize("negative", [0.0, 0.001])
def test_an_old_answer_ends_with_a_newer_one_that_is_not_kept(since, negative):
    """A password that the module has refused meanwhile lets nobody in when it cannot tell (`stale`)."""
    answers = [Authenticated(HERE), since, CannotTell("down")]
    guard = Guarded(InTurn(answers))
    how = Asking(Terms(cache=0.001, negative=negative, stale=3600.0), Unheard())

    async def heard():
        came = []
        while answers:
            came.append(await guard.put(Step(guard.module, CHECK), question(), how))
            await asyncio.sleep(0.002)  # until what is kept is no longer fresh
        return came

    assert asyncio.run(heard()) == [Authenticated(HERE), since, CannotTell("down")]


def test_an_old_answer_counts_while_the_module_cannot_tell():
    """However often, and also where it says so by a refusal that is its server's."""
    answers = [Authenticated(HERE), CannotTell("down"), Refused(code="SYS/TEMP"), CannotTell("down")]
    guard = Guarded(InTurn(answers))
    how = Asking(Terms(cache=0.001, stale=3600.0), Unheard())

    async def heard():
        for _ in range(4):
            assert await guard.put(Step(guard.module, CHECK), question(), how) == Authenticated(HERE)
            await asyncio.sleep(0.002)

    asyncio.run(heard())
    assert not answers


def test_no_secret_is_kept():
    """Neither one for a backend, nor the password that is in the work which hides who exists."""
    assert to_keep(Authenticated(Route("b1", secret=Secret(b"x")))) is None
    assert to_keep(Unknown(lambda: CANARY, second_round=lambda: CANARY)) is UNKNOWN
    assert to_keep(CannotTell("x")) is None
    assert to_keep(Refused(HERE)) == Refused(HERE)


def test_a_server_is_used_only_where_its_network_and_port_are_allowed():
    """And it becomes the backend that it is like; nothing else of the answer changes."""
    allowed = [servers("192.0.2.0/24:110"), servers("[2001:db8::/32]:995")]
    good = {"192.0.2.7:110": ("192.0.2.7", 110), "[2001:db8::7]:995": ("2001:db8::7", 995)}
    for named, where in good.items():
        answer = placed(Authenticated(Route(named, "joe"), cache=3), allowed, "like")
        assert answer == Authenticated(Route("like", "joe", server=where), cache=3)
    bad = ["192.0.2.7:111", "192.0.3.7:110", "[2001:db8::7]:110", "192.0.2.0/25:110", "joe:110", ":", "[192.0.2.7]:110"]
    for named in bad:
        assert isinstance(placed(Refused(Route(named)), allowed, "like"), CannotTell), named
    assert placed(Authenticated(HERE), [], "") == Authenticated(HERE)
    for text in ("192.0.2.0/24", "192.0.2.0/24:0", "192.0.2.0/24:65536", "2001:db8::7:110", "192.0.2.1/24:110", ""):
        with pytest.raises(BadServer):
            servers(text)
    assert [str(one) for one in allowed] == ["192.0.2.0/24:110", "[2001:db8::/32]:995"]


def test_a_user_is_forgotten_however_he_has_written_his_name():
    """By any of his names; another one, and one of another namespace, are remembered."""
    names = [("ns", "joe"), ("ns", "JOE"), ("ns", "joe@x"), ("ns", "ann"), ("other", "joe")]
    for flushed, left in (("joe", 1), ("JOE", 2), ("ns:joe@x", 2), ("ann", 4)):
        cache = AnswerCache(b"k" * 32)
        for namespace, user in names:
            limits = UserLimits(account="joe") if namespace == "ns" and user != "ann" else None
            answer = Authenticated(Route("b"), limits)
            kept = CachedAnswer(answer, (namespace, user), since=0, seconds=KEPT_FOR)
            cache.keep(f"{namespace}{user}".encode(), kept, most=9, flushes=0)
        cache.flush(flushed)
        assert len(cache) == left, flushed


def test_the_answer_of_a_shadow_is_compared():
    """By what it would have come to, and where to."""
    let_in = Admitted(HERE, "a", "a")
    assert compared(let_in, Authenticated(HERE)) == SAME
    assert compared(let_in, Authenticated(Route("b2"))) == compared(let_in, UNKNOWN) == DIFFERENT
    assert compared(RefusedLogin("a"), Refused(HERE)) == compared(NobodyKnows(), UNKNOWN) == SAME
    assert compared(RefusedLogin("a"), UNKNOWN) == compared(NobodyKnows(), Refused(HERE)) == DIFFERENT
    assert compared(let_in._replace(vouched=True), Refused(HERE)) == SAME, "his own password would have been refused"
    assert compared(let_in, CannotTell("x")) == compared(CannotTell("x"), UNKNOWN) == CANNOT_TELL


def test_threads_that_hang_are_kept_and_told_of():
    """Two hang: who comes is told at once. One returns: the next one is asked again."""

    async def tried():
        threads, gate, heard = Threads("m", 2), threading.Event(), Counted()
        hanging = [asyncio.ensure_future(heard.run(threads, gate.wait, 0.2)) for _ in range(2)]
        answers = await asyncio.gather(*hanging, return_exceptions=True)
        assert [type(answer) for answer in answers] == [TimeoutError, TimeoutError]
        while threads.hanging(0.2) < 2:  # they began in their threads, a little later
            await asyncio.sleep(0.01)
        assert await heard.run(threads, lambda: 1, 0.2) == CannotTell("all its 2 threads hang")
        assert heard.held == 2
        gate.set()
        while threads.held:
            await asyncio.sleep(0.01)
        assert await heard.run(threads, lambda: 1, patient(5)) == 1
        await asyncio.sleep(0.05)
        assert (heard.held, heard.waiting, heard.gone) == (0, 0, [])
        threads.close()

    asyncio.run(tried())


def test_who_cannot_get_a_thread_in_time_was_not_a_failure_of_the_module():
    """And what was waiting is never done; nor is what nobody wants to know any more."""

    async def tried():
        threads, done, heard = Threads("m", 1), [], Counted()
        first = asyncio.ensure_future(heard.run(threads, lambda: time.sleep(0.5), patient(5)))
        await asyncio.sleep(0.01)
        gone = asyncio.ensure_future(heard.run(threads, lambda: done.append(1), patient(5)))
        await asyncio.sleep(0.01)
        assert heard.waiting == 1
        gone.cancel()
        answer = await heard.run(threads, lambda: done.append(1), 0.1)
        assert answer == CannotTell("no thread was free within 0.1 s")
        await first
        assert await heard.run(threads, lambda: 2, patient(5)) == 2, "no thread was lost"
        assert not done
        assert (heard.waiting, heard.gone) == (0, ["gone", "refused"])
        threads.close()

    asyncio.run(tried())


def test_who_cannot_get_a_thread_does_not_close_the_breaker():
    """While all threads hang nothing is learned of the module: it is not back, and its failures are still in a row."""
    go_on, counted = threading.Event(), Counted()
    guard = Guarded(Hanging(go_on))
    how = Asking(Terms(timeout=patient(0.2), threads=1, breaker=2, pause=0.05), counted)

    async def asked(count):
        return await asyncio.gather(*(guard.put(Step(guard.module, CHECK), question(), how) for _ in range(count)))

    async def let_go():
        go_on.set()
        while counted.held:
            await asyncio.sleep(0.001)

    async def tried():
        first = await asked(3)
        assert [answer.reason.partition(" within")[0] for answer in first] == ["no answer"] + 2 * ["no thread was free"]
        assert guard.breaker.state is CLOSED
        await let_go()
        go_on.clear()
        await asked(3)
        assert guard.breaker.state is OPEN, "two failures in a row"
        await asyncio.sleep(0.1)
        assert "thread" in (await asked(1))[0].reason
        assert guard.breaker.state is OPEN, "the trial has told nothing"
        await let_go()
        assert await asked(1) == [UNKNOWN]
        assert guard.breaker.state is CLOSED
        await guard.close()

    asyncio.run(tried())


def test_threads_take_turns_over_networks():
    """Who comes after twenty of another network is the second one to be served."""

    async def tried():
        threads, order, heard = Threads("m", 1), [], Counted()

        async def ask(name, network):
            await heard.run(threads, lambda: (time.sleep(0.02), order.append(name)), patient(20), network)

        many = [asyncio.ensure_future(ask("many", "192.0.2.1/32")) for _ in range(20)]
        await asyncio.sleep(0.01)
        served = len(order)  # more than none on a busy machine
        await asyncio.gather(ask("one", "192.0.2.2/32"), *many)
        assert order.index("one") <= served + 2
        threads.close()

    asyncio.run(tried())


def test_a_thread_that_was_given_to_somebody_who_has_gone_is_given_on():
    """At the very moment at which his turn comes."""

    async def tried():
        threads, heard, gate = Threads("m", 1), Counted(), threading.Event()
        first = asyncio.ensure_future(heard.run(threads, gate.wait, patient(5)))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(heard.run(threads, lambda: 2, patient(5)))
        third = asyncio.ensure_future(heard.run(threads, lambda: 3, patient(5)))
        await asyncio.sleep(0.01)
        give = threads._pass_on

        def and_cancel(events):
            give(events)
            second.cancel()

        threads._pass_on = and_cancel  # type: ignore[method-assign]
        gate.set()
        await first
        threads._pass_on = give  # type: ignore[method-assign]
        assert await third == 3
        await asyncio.sleep(0.05)
        assert (heard.held, heard.waiting) == (0, 0)
        threads.close()

    asyncio.run(tried())


def test_a_missing_library_names_its_extra():
    """In words that can be pasted."""
    assert arguments.needs("json", extra="x").dumps([]) == "[]"
    with pytest.raises(ModuleFailed, match=r"psycopg_nosuch is not installed.*/pip install '\.\[postgresql\]'"):
        arguments.needs("psycopg_nosuch", extra="postgresql")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://joe:{CANARY}@db/mail",
        f"redis://:{CANARY}@db",
        f"postgresql://db/mail?password={CANARY}",
        f"mysql://db/mail?user=joe&PassWord={CANARY}",
        "ldap://joe:@db",
    ],
)
def test_a_password_in_a_url_is_refused(url):
    """And not repeated."""
    with pytest.raises(ModuleFailed, match="passwordfile FILE") as caught:
        arguments.refuse_password_in("sql", url)
    assert CANARY not in str(caught.value)


def test_a_url_without_a_password_is_fine():
    """Also one with a user."""
    for url in ("postgresql://joe@db/mail?sslmode=require", "http://[::1]:80/auth", "sqlite:///x"):
        arguments.refuse_password_in("sql", url)


def test_a_secret_is_the_first_line_of_a_file_that_not_everybody_may_write(tmp_path):
    """What is wrong with one that is none is told, without quoting it."""
    path = tmp_path / "secret"
    path.write_text(f"{CANARY}\r\n# the rest is nobody's\n")
    found = arguments.secret_from(str(path))
    assert found.secret.equals(CANARY.encode())
    assert list(found.files) == [str(path)]
    path.chmod(0o666)
    with pytest.raises(ModuleFailed, match="may be written by everybody"):
        arguments.secret_from(str(path))
    path.chmod(0o600)
    for text in ("", "\n", f"{CANARY}\0\n", CANARY * 1000):
        path.write_text(text)
        with pytest.raises(ModuleFailed, match="its first line") as caught:
            arguments.secret_from(str(path))
        assert CANARY not in str(caught.value)
    with pytest.raises(ModuleFailed, match="cannot be read"):
        arguments.secret_from(str(tmp_path / "none"))


def test_words_in_pairs_are_read_once_each():
    """A wrong one is named, with what is allowed."""
    assert arguments.pairs("m", ["a", "1", "b", ""], {"a", "b"}) == {"a": "1", "b": ""}
    for words, text in ((["c", "1"], "allowed: a, b"), (["a", "1", "a", "2"], "twice"), (["a"], "no value")):
        with pytest.raises(ModuleFailed, match=text):
            arguments.pairs("m", words, {"a", "b"})
