"""What a worker makes of what goes wrong in itself: each message counts for itself, and it ends in an orderly way."""

import asyncio
from types import SimpleNamespace
from typing import Any

from supervisor import workerline
from supervisor.worker.worker import Worker
from tests.threadless import NO_THREAD, without_threads


def worker_that_hears(*messages: object) -> Any:
    """One that has nothing but a lifeline, on which these have come; `told` is what it says, `obeyed` what it did."""
    worker: Any = Worker.__new__(Worker)
    worker.obeyed, worker.told, worker.faults = [], [], []
    heard: list[tuple[object, list[int]]] = [(message, []) for message in messages]
    worker._lifeline = SimpleNamespace(receive=lambda: heard, send=worker.told.append, wants_write=False)
    worker._acceptor = SimpleNamespace(allow=worker.obeyed.append)
    worker._loop = SimpleNamespace(call_exception_handler=lambda context: worker.faults.append(context["message"]))
    return worker


def test_an_error_behind_one_message_loses_no_other() -> None:
    """The next one may bring sockets, which nobody would ever close."""
    worker = worker_that_hears(workerline.Accept(True), workerline.Leave(True), workerline.Accept(False))
    worker._hear()  # it cannot leave, for it lacks all that it would finish
    assert worker.obeyed == [True, False]
    assert worker.faults == ["Leave is not obeyed"]


def test_a_config_that_no_thread_can_prepare_is_refused_at_once() -> None:
    """With the reason, and the messages behind it are obeyed."""
    config: Any = SimpleNamespace(generation=7)
    worker = worker_that_hears(workerline.Prepare(config, False), workerline.Accept(False))
    worker._program = SimpleNamespace(make_service=lambda *_all: None)
    worker._context = worker._service = None
    loop = asyncio.new_event_loop()
    worker._loop.run_in_executor = loop.run_in_executor
    with without_threads():
        worker._hear()
    loop.close()
    assert worker.told == [workerline.Unable(7, NO_THREAD)]
    assert (worker.obeyed, worker.faults) == ([False], [])


def test_who_can_start_no_thread_to_close_still_ends_in_order() -> None:
    """What the service has to write is written; what it has open is closed by the kernel."""
    worker = worker_that_hears()
    finished: list[object] = []
    worker._service = "service"
    worker._program = SimpleNamespace(finish=finished.append)
    with without_threads():
        worker.finish()
    assert finished == ["service"]
