"""What becomes of a question to the modules when nobody wants to know any more."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from popular.pdm.contract import CannotTell
from popular.proxy.session.shared.question_queue import PendingQuestion, QuestionQueue
from supervisor.runtime.messages import SESSION_BUG
from tests.patience import patient


def test_who_has_given_up_hears_no_answer() -> None:
    """A thread that computes it cannot be stopped; it is counted, and told to nobody: a lease would be taken for who is
    shown an empty mailbox by then.
    """
    heard: list[object] = []
    counted: list[str] = []
    go_on = threading.Event()

    async def asked(pool: ThreadPoolExecutor) -> None:
        durations = SimpleNamespace(observe=lambda _seconds: None)
        counters = SimpleNamespace(cell=lambda _name: 0, observer=lambda _name: durations)
        context: Any = SimpleNamespace(loop=asyncio.get_running_loop(), pool=pool, cells=[0], counters=counters)
        queue = QuestionQueue(context)

        def work() -> tuple[str, Any]:
            go_on.wait(patient(10.0))
            return "admitted", lambda: counted.append("counted")

        waiting = PendingQuestion(queue, "192.0.2.0/24", work, answered=heard.append)
        assert queue.submit(waiting, 1) is waiting
        waiting.drop()
        go_on.set()
        async with asyncio.timeout(patient(10.0)):
            while not counted:
                await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(asked(pool))
    assert (heard, counted) == ([], ["counted"])


def test_an_error_of_ours_leaves_nobody_waiting() -> None:
    """What a thread raises is told, and answers that nobody can tell."""
    told: list[object] = []

    async def asked(pool: ThreadPoolExecutor) -> object:
        counters = SimpleNamespace(cell=lambda _name: 0, observer=lambda _name: SimpleNamespace(observe=print))
        loop = asyncio.get_running_loop()
        context: Any = SimpleNamespace(loop=loop, pool=pool, cells=[0], counters=counters)
        context.log = lambda message, _sid, error: told.append((message, error.partition(" at ")[0]))
        queue = QuestionQueue(context)
        heard: asyncio.Future[object] = loop.create_future()
        waiting: PendingQuestion[Any] = PendingQuestion(queue, "192.0.2.0/24", lambda: {}[0], answered=heard.set_result)
        queue.submit(waiting, 1)
        return await asyncio.wait_for(heard, patient(10.0))

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(asked(pool)) == CannotTell("an error of ours")
    assert told == [(SESSION_BUG, "KeyError")]
