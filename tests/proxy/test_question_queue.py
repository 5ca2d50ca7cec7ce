"""What becomes of a question to the modules when nobody wants to know any more."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from popular.proxy.session.shared.question_queue import PendingQuestion, QuestionQueue
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
