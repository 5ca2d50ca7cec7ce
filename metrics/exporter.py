"""The exporter process: answers HTTP with what the table, the config and the master tell. The child's side.

    /          the status page, and /status.json, its numbers (page.py)
    /metrics   for Prometheus (text, or OpenMetrics for who asks for it)
    /livez     200 while the master gives signs of life, else 503 and the reason
    /readyz    200 if clients should be sent here; 503 and the reason while draining, at too high a load, or with no
               virtual server online

It runs as a child of the master until the lifeline ends (supervisor/master/exporter.py), reads the table and never
writes it. Whatever it needs is imported, and read, before the master gives up its rights: who it is then may not be
able to read our files, and they may be those of another release by then.
"""

import asyncio
import gc
import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from prometheus_client.exposition import choose_encoder

from metrics import page as statuspage
from metrics.collector import Collector
from metrics.http import HttpRequest, HttpResponse, HttpServer, text
from metrics.known import Known
from metrics.watch import Moment
from supervisor.exporterline import DescribedConfig, ExporterInheritance, Fault, Listening, Pulse, Waiting
from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.httpaddress import HttpAddress
from supervisor.table.segment import View

AGAIN_SECONDS = 1.0
"""How long to wait for an address that somebody else has."""
_OPEN_METRICS = "application/openmetrics-text"


def metrics(known: Known, request: HttpRequest) -> HttpResponse:
    """One scrape."""
    # What else stands in the field is a client's, and the library takes it at its word.
    open_metrics = _OPEN_METRICS in request.fields.get("accept", "")
    encode, content_type = choose_encoder(_OPEN_METRICS if open_metrics else "")
    return HttpResponse(HTTPStatus.OK, content_type, encode(Collector(known)))


def page(_known: Known, _request: HttpRequest) -> HttpResponse:
    """The status page."""
    return statuspage.page()


def status(known: Known, request: HttpRequest) -> HttpResponse:
    """What the status page asks for, again and again."""
    return statuspage.status(known, request)


def livez(known: Known, _request: HttpRequest) -> HttpResponse:
    """Should it be restarted?"""
    return _probe(known.why_not_alive())


def readyz(known: Known, _request: HttpRequest) -> HttpResponse:
    """Should clients be sent here?"""
    return _probe(known.why_not_ready())


def _probe(trouble: str) -> HttpResponse:
    return text(HTTPStatus.SERVICE_UNAVAILABLE, trouble) if trouble else text(HTTPStatus.OK, "ok")


ROUTES: dict[str, Callable[[Known, HttpRequest], HttpResponse]] = {
    "/": page,
    "/status.json": status,
    "/metrics": metrics,
    "/livez": livez,
    "/readyz": readyz,
}
"""What is answered where."""

EACH_SECOND: tuple[Callable[[Known], None], ...] = (lambda known: known.watch.sample(Moment.present()),)
"""Called with each pulse of the master."""


def export(inheritance: ExporterInheritance) -> None:
    """The whole life of the process; see supervisor.program.Program."""
    gc.freeze()
    lifeline = Lifeline(inheritance.lifeline)
    view = View.open(inheritance.table)
    known = Known(
        program=inheritance.program,
        version=inheritance.version,
        master=inheritance.master,
        table=inheritance.table,
        view=view,
        watched=inheritance.watched,
        metrics=inheritance.metrics,
        token=inheritance.token,
    )
    asyncio.run(_Process(known, lifeline).live(inheritance.address, inheritance.http))


class _Process:
    """Joins the lifeline and the server."""

    def __init__(self, known: Known, lifeline: Lifeline) -> None:
        self._known = known
        self._lifeline = lifeline
        self._over = asyncio.Event()
        self._faults: set[str] = set()

    async def live(self, address: HttpAddress, http: socket.socket | None) -> None:
        asyncio.get_running_loop().add_reader(self._lifeline.socket, self._hear)
        routes = {path: partial(answer, self._known) for path, answer in ROUTES.items()}
        server = HttpServer(routes, self._tell_fault)
        if http is not None:
            await server.listen_at(http)
        opening = asyncio.create_task(self._open(server, address))
        await self._over.wait()
        opening.cancel()

    async def _open(self, server: HttpServer, address: HttpAddress) -> None:
        """Takes the address, or waits for it: another instance may still be finishing its sessions there."""
        while True:
            try:
                host, port = await server.listen(address.host, address.port)
            except OSError as error:
                self._tell(Waiting(f"{address}: {error.strerror or error}"))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._tell(Listening(HttpAddress(host, port)))
                return

    def _hear(self) -> None:
        try:
            for message, _fds in self._lifeline.receive():
                match message:
                    case DescribedConfig(described):
                        self._known.facts = described
                    case Pulse():
                        self._known.hear(message)
                        self._do_each_second()
        except LifelineLost:
            self._over.set()

    def _do_each_second(self) -> None:
        for task in EACH_SECOND:
            try:
                task(self._known)
            except Exception as error:
                self._tell_fault(error)

    def _tell(self, message: object) -> None:
        """The few words that go up always fit."""
        try:
            self._lifeline.send(message)
        except LifelineLost:
            self._over.set()

    def _tell_fault(self, error: Exception) -> None:
        """Each fault once: the kind of error and its place, no values."""
        fault = kind_and_location_of(error)
        if fault not in self._faults:
            self._faults.add(fault)
            self._tell(Fault(fault))
