"""The exporter process: answers HTTP with what the table, the config and the master tell. The child's side.

    /          the status page, and /status.json, its numbers (page.py)
    /metrics   for Prometheus (text, or OpenMetrics for who asks for it)
    /livez     200 while the master gives signs of life, else 503 and the reason
    /readyz    200 if clients should be sent here; 503 and the reason while draining, at too high a load, or with no
               virtual server online

It runs as a child of the master until the lifeline ends (supervisor/master/exporter.py), reads the table and never
writes it. Whatever it needs is imported, and read, before the master gives up its rights: who it is then may not be
able to read our files, and they may be those of another release by then.

The server answers GET and HEAD of a few paths, each by a function. No files, so no way out of them. One request for
each connection, and everything is bounded: connections, the length of a request, the time for it and for its answer.
Who is slow or says nonsense loses his own connection, and when there are as many as may be, the one that has been
there longest makes room: nobody can keep a probe out by saying nothing. It runs on asyncio, in one thread: an answer
is made in one go.
"""

import asyncio
import gc
import socket
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus

from metrics import page as statuspage
from metrics.collector import scrape
from metrics.http import BadHttpRequest, Handler, HttpRequest, HttpResponse, encode, parse, text
from metrics.programseen import ProgramSeen
from metrics.watch import Moment
from supervisor.exporterline import DescribedConfig, ExporterInheritance, Fault, HttpSocket, Listening, Pulse, Waiting
from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.httpaddress import HttpAddress
from supervisor.table.segment import View

AGAIN_SECONDS = 1.0
"""How long to wait for an address that somebody else has."""
MOST_CONNECTIONS = 32
LONGEST_REQUEST = 8192
"""Octets of the request line and all header fields."""
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 10.0
_EVERY_ADDRESS = "::"
_MAPPED_IPV4 = "::ffff:"


def page(_program: ProgramSeen, _request: HttpRequest) -> HttpResponse:
    """The status page."""
    return statuspage.page()


def status(program: ProgramSeen, request: HttpRequest) -> HttpResponse:
    """What the status page asks for, again and again."""
    return statuspage.status(program, request)


def livez(program: ProgramSeen, _request: HttpRequest) -> HttpResponse:
    """Should it be restarted?"""
    return _probe(program.why_not_alive())


def readyz(program: ProgramSeen, _request: HttpRequest) -> HttpResponse:
    """Should clients be sent here?"""
    return _probe(program.why_not_ready())


def _probe(trouble: str) -> HttpResponse:
    return text(HTTPStatus.SERVICE_UNAVAILABLE, trouble) if trouble else text(HTTPStatus.OK, "ok")


ROUTES: dict[str, Callable[[ProgramSeen, HttpRequest], HttpResponse]] = {
    "/": page,
    "/status.json": status,
    "/metrics": scrape,
    "/livez": livez,
    "/readyz": readyz,
}
"""What is answered where."""

EACH_SECOND: tuple[Callable[[ProgramSeen], None], ...] = (lambda program: program.watch.sample(Moment.present()),)
"""Called with each pulse of the master."""


class HttpServer:
    """Answers at one address, and at a Unix socket if there is one."""

    def __init__(self, routes: Mapping[str, Handler], on_fault: Callable[[Exception], None]) -> None:
        """`on_fault` is told of an error of ours; the client learns only that there was one."""
        self._routes = routes
        self._on_fault = on_fault
        self._connections: dict[asyncio.StreamWriter, None] = {}
        """The oldest first."""

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Begins to answer; gives address and port. `::` is every address, of IPv4 too. Raises OSError."""
        every = host == _EVERY_ADDRESS
        if every and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, dualstack_ipv6=every and ":" in host)
        await asyncio.start_server(self._converse, sock=listening, limit=LONGEST_REQUEST)
        address = listening.getsockname()
        return address[0], address[1]

    async def listen_at(self, listening: socket.socket) -> None:
        """Begins to answer at a Unix socket that listens already."""
        await asyncio.start_unix_server(self._converse, sock=listening, limit=LONGEST_REQUEST)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request; never raises."""
        route = self._routes.get(request.path)
        if route is None:
            return text(HTTPStatus.NOT_FOUND, f"There is nothing here; try {' '.join(self._routes)}")
        if request.method not in ("GET", "HEAD"):
            refused = text(HTTPStatus.METHOD_NOT_ALLOWED)
            return refused._replace(fields=(("Allow", "GET, HEAD"),))
        try:
            return route(request)
        except Exception as error:
            self._on_fault(error)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abort()
        self._connections[writer] = None
        try:
            said = await self._hear(reader, writer)
            if said:
                writer.write(said)
                async with asyncio.timeout(ANSWER_SECONDS):
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            self._connections.pop(writer, None)
            writer.transport.abort()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Reads a request, and gives the octets of the answer; none for a client that went away."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            peer = writer.get_extra_info("peername") or [""]  # of one that is gone already nothing is known
            by_unix_socket = writer.get_extra_info("socket").family == socket.AF_UNIX
            request = parse(head, "" if by_unix_socket else peer[0].removeprefix(_MAPPED_IPV4), by_unix_socket)
        except TimeoutError:
            return encode(text(HTTPStatus.REQUEST_TIMEOUT), with_body=True)
        except asyncio.LimitOverrunError:
            return encode(text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), with_body=True)
        except asyncio.IncompleteReadError:
            return b""
        except BadHttpRequest as error:
            return encode(text(HTTPStatus.BAD_REQUEST, str(error)), with_body=True)
        return encode(self.answer(request), with_body=request.method != "HEAD")


def export(inheritance: ExporterInheritance) -> None:
    """The whole life of the process; see supervisor.program.Program."""
    gc.freeze()
    lifeline = Lifeline(inheritance.lifeline)
    view = View.open(inheritance.table)
    program = ProgramSeen(
        name=inheritance.program,
        version=inheritance.version,
        master=inheritance.master,
        table=inheritance.table,
        view=view,
        watched=inheritance.watched,
        metrics=inheritance.metrics,
        token=inheritance.token,
    )
    asyncio.run(_Process(program, lifeline).live(inheritance.address, inheritance.http))


class _Process:
    """Joins the lifeline and the server."""

    def __init__(self, program: ProgramSeen, lifeline: Lifeline) -> None:
        self._program = program
        self._lifeline = lifeline
        self._over = asyncio.Event()
        self._faults: set[str] = set()
        routes = {path: partial(answer, self._program) for path, answer in ROUTES.items()}
        self._server = HttpServer(routes, self._tell_fault)
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self, address: HttpAddress, http: socket.socket | None) -> None:
        asyncio.get_running_loop().add_reader(self._lifeline.socket, self._hear)
        if http is not None:
            await self._server.listen_at(http)
        opening = asyncio.create_task(self._open(self._server, address))
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
            for message, fds in self._lifeline.receive():
                match message:
                    case DescribedConfig(described):
                        self._program.facts = described
                    case HttpSocket():
                        http = [socket.socket(fileno=fd) for fd in fds]
                        self._tasks |= {asyncio.create_task(self._server.listen_at(one)) for one in http}
                    case Pulse():
                        self._program.hear(message)
                        self._do_each_second()
        except LifelineLost:
            self._over.set()

    def _do_each_second(self) -> None:
        for task in EACH_SECOND:
            try:
                task(self._program)
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
