"""ptestpdm: tries authentication modules out, without a proxy.

    ptestpdm [--help] [--version] [--debug] [-d DIR|--dir DIR] [--certificate-name NAME] COMMAND-FILE DATA-FILE
    ptestpdm [-d DIR|--dir DIR] [--user USER --passwordfile FILE] --conformance MODULE [ARG]...

COMMAND-FILE has one module a line, in the order in which they are asked: `ID MODULE-NAME [ARG]...`, split into words
as the control language does it. DATA-FILE has one login a line: `IP PROTOCOL NAMESPACE USER PASSWORD`, where the
password is all that follows the blanks after USER. Empty lines, and lines that begin with `#`, count for nothing.

--certificate-name is for all logins: the clients have shown a verified certificate with this name.

--conformance tries whether a module keeps the contract, whatever is typed (see `conformance.py`): one line for each
trial. With a user whom it knows, and his password in a file, it is tried with him too.

For each login, one line on standard output says what the proxy would do with it; --debug shows on standard error what
each module answered, and how long it took. Passwords are never printed. Exit status: 0 all logins were answered
(whether admitted or not), 1 a module could not be opened or could not answer, or a line is faulty, 2 usage.
"""

import argparse
import asyncio
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from popular.pdm import loader
from popular.pdm.arguments import secret_from
from popular.pdm.conformance import Trials
from popular.pdm.contract import (
    AnyModule,
    Authenticated,
    CannotTell,
    ModuleFailed,
    Question,
    Refused,
    Route,
    Secret,
    Unknown,
)
from popular.pdm.decision import Admitted, Decision, RefusedLogin
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.steps import SPEND, Record, Step
from supervisor.commandline import CommandLine
from supervisor.control.words import CommandRefused, split
from supervisor.runtime.rights import forbid_cores
from supervisor.version import VERSION

EXIT_ANSWERED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

_DATA = "IP PROTOCOL NAMESPACE USER PASSWORD"


class _Faulty(Exception):
    """Something that the user has to put right; the text says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status; SystemExit(2) on wrong usage."""
    parser = options()
    chosen = parser.parse_args(arguments)
    forbid_cores()
    if chosen.conformance:
        return _conforms(chosen)
    if chosen.data is None:
        parser.error("COMMAND-FILE and DATA-FILE are wanted, or --conformance MODULE")
    modules: list[Guarded] = []
    try:
        for module in _opened(Path(chosen.commands), chosen.dir):
            modules.append(Guarded(module))
        questions = list(_questions(Path(chosen.data), chosen.certificate_name or ""))
    except (_Faulty, ModuleFailed) as error:
        print(f"ptestpdm: {error}", file=sys.stderr)
        for opened in modules:
            asyncio.run(opened.close())
        return EXIT_FAILED
    decisions = asyncio.run(_all_tried(modules, questions, sys.stderr if chosen.debug else None))
    return EXIT_FAILED if any(isinstance(decision, CannotTell) for decision in decisions) else EXIT_ANSWERED


def options() -> argparse.ArgumentParser:
    """The command line; the manual page is made from it."""
    parser = CommandLine(
        prog="ptestpdm",
        description="Tries authentication modules out, without a proxy.",
        epilog="Exit status: 0 all logins were answered; 1 a module failed, or a line is faulty; 2 usage.",
    )
    parser.add_argument("--version", action="version", version=f"ptestpdm {VERSION}")
    parser.add_argument("--debug", action="store_true", help="show what each module answers, and how long it takes")
    parser.add_argument(
        "-d",
        "--dir",
        type=Path,
        default=loader.OWN_DIRECTORY,
        help="where the modules are (default: those that come with the proxy)",
    )
    parser.add_argument(
        "--certificate-name",
        metavar="NAME",
        help="the name in the clients' verified certificate (default: they have shown none)",
    )
    parser.add_argument("--user", metavar="USER", help="for --conformance: a user whom the module knows")
    parser.add_argument("--passwordfile", metavar="FILE", help="for --conformance: a file with his password or token")
    parser.add_argument(
        "--conformance",
        type=str,  # an argument of a module may be ""
        nargs=argparse.REMAINDER,
        metavar="MODULE [ARG]",
        help="try whether a module keeps the contract; after it stand its name and its arguments, and nothing else",
    )
    parser.add_argument(
        "commands", metavar="COMMAND-FILE", nargs="?", help="one module a line: ID MODULE-NAME [ARG]..."
    )
    parser.add_argument("data", metavar="DATA-FILE", nargs="?", help=f"one login a line: {_DATA}")
    return parser


def _conforms(chosen: argparse.Namespace) -> int:
    name, *words = chosen.conformance
    try:
        known = (chosen.user, secret_from(chosen.passwordfile).secret) if chosen.user and chosen.passwordfile else None
        opened = functools.partial(loader.load, chosen.dir, name, "tried", arguments=words)
        return asyncio.run(_conform(opened, known))
    except ModuleFailed as error:
        print(f"ptestpdm: {error}", file=sys.stderr)
        return EXIT_FAILED


async def _conform(opened: Callable[[], AnyModule], known: tuple[str, Secret] | None) -> int:
    status = EXIT_ANSWERED
    async for name, wrong, left_out in Trials(opened, known).all():
        told = f"-       {name} (not tried: {left_out})" if left_out else f"ok      {name}"
        print(f"FAILED  {name}: {wrong}" if wrong else told, flush=True)
        status = EXIT_FAILED if wrong else status
    return status


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place ("file:7") and text of each line that counts."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _Faulty(f"{path} is not UTF-8") from None
    except OSError as error:
        raise _Faulty(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield f"{path}:{number}", line.removesuffix("\r")


def _opened(path: Path, directory: Path) -> Iterator[AnyModule]:
    idents = set()
    for place, line in _lines(path):
        try:
            words = split(line)
        except CommandRefused as error:
            raise _Faulty(f"{place}: {error}") from None
        if len(words) < 2:
            raise _Faulty(f"{place}: ID MODULE-NAME [ARG]... is wanted")
        ident, name, *arguments = words
        if ident in idents:
            raise _Faulty(f"{place}: there is a module '{ident}' already")
        idents.add(ident)
        try:
            yield loader.load(directory, name, ident, arguments=arguments)
        except ModuleFailed as error:
            raise _Faulty(f"{place}: {error}") from None
    if not idents:
        raise _Faulty(f"{path} names no module")


def _questions(path: Path, certificate_name: str) -> Iterator[Question]:
    for place, line in _lines(path):
        words = line.split(maxsplit=4)
        if len(words) < 5:
            raise _Faulty(f"{place}: {_DATA} is wanted, {len(words)} of these five are there")
        ip, protocol, namespace, user, password = words
        yield Question(
            ip,
            protocol,
            namespace,
            user=user,
            password=Secret(password.encode()),
            vserv="",
            certificate_name=certificate_name,
        )


async def _all_tried(modules: Sequence[Guarded], questions: Sequence[Question], debug: TextIO | None) -> list[Decision]:
    """One after the other, and lets the modules go."""
    asked = [(guard, Asking(Terms(), _Errors())) for guard in modules]
    try:
        return [await _tried(asked, question, debug) for question in questions]
    finally:
        for guard in modules:
            await guard.close()


async def _tried(asked: Sequence[tuple[Guarded, Asking]], question: Question, debug: TextIO | None) -> Decision:
    decision = await decide(asked, question, _Telling(debug))
    who = f"{question.client_ip} {question.protocol} {question.namespace} {question.user!r}"
    print(f"{who}: {_told(decision)}", flush=True)
    return decision


def _told(decision: Decision) -> str:
    match decision:
        case Admitted(route, identified_by, authenticated_by):
            return f"admitted {_route(route)} identified_by={identified_by} authenticated_by={authenticated_by}"
        case RefusedLogin(identified_by):
            return f"refused identified_by={identified_by}" + (f": {decision.reason}" if decision.reason else "")
        case CannotTell(reason):
            return f"cannot tell: {reason}"
        case _:
            return "nobody knows this user"


def _route(route: Route | None) -> str:
    if route is None:
        return "route not told"
    target = "own" if route.target is None else repr(route.target)
    secret = "own" if route.secret is None else "set"
    return f"backend={route.backend} target={target} secret={secret} flags={route.flags or '-'}"


class _Telling(Record):
    """Tells what each module answers, where that is wanted."""

    __slots__ = ("_out",)

    def __init__(self, out: TextIO | None) -> None:
        super().__init__()
        self._out = out

    def add(self, step: Step, seconds: float, heard: object) -> None:
        super().add(step, seconds, heard)
        if self._out is not None and step.what != SPEND:
            text = f"{step.module.ident}: {step.what}: {_answer(heard)} after {seconds * 1000:.3f} ms"
            print(text, file=self._out, flush=True)


class _Errors(Unheard):
    """What is heard of a module beside its answers (Unheard)."""

    def breaker_moved(self, ident: str, is_open: bool, reason: str) -> None:
        told = f"is not asked for a while: {reason}" if is_open else "is asked again"
        print(f"{ident}: {told}", file=sys.stderr, flush=True)

    def erred(self, ident: str, where: str) -> None:
        print(f"{ident}: raised {where}", file=sys.stderr, flush=True)

    def waits(self, change: int) -> None:
        """One question at a time waits for nobody."""

    def waited(self, seconds: float) -> None:
        """Nor for how long."""

    def dropped(self, why: str) -> None:
        """Nor is it dropped."""


def _answer(reply: object) -> str:
    match reply:
        case Authenticated(route):
            return f"authenticated, {_route(route)}"
        case Refused(route):
            return f"refused, {_route(route)}"
        case Unknown():
            return "unknown"
        case CannotTell():
            return "failed"
        case _:
            return "yes" if reply is True else "no"


if __name__ == "__main__":
    sys.exit(main())
