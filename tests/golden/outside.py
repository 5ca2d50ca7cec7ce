"""What others hold on to: options, words, names, numbers, keys, exit codes; as real processes show them.

    python -m tests.golden      writes the files beside this one anew

Texts for people are not among them: those may change, these may not. A release may add lines and must not lose one.
"""

import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploy.man.pages import pages
from tests.patience import patient
from tests.system.scrape import Scrape
from tests.system.site import Proxy, program

HERE = Path(__file__).parent
SUPERVISED = ("pproxy", "pserv")
SUBCOMMANDS = {"pcontrol": ("check", "apply", "confirm", "rollback")}
COMMANDS = (
    *SUPERVISED,
    "pcontrol",
    "pstatus",
    "pcheckd",
    "pcheck",
    "pdeliver",
    "ptestpdm",
    "pcdb",
    "ringd",
    "popular-demo",
    "pclean",
)

QUESTIONS = {
    "pproxy": (
        "show",
        "vserv show v",
        "backend show b",
        "backend list",
        "vserv list",
        "pdm show m",
        "sessions",
        "workers",
        "debug",
    ),
    "pserv": ("show", "server show", "sessions", "workers", "debug"),
}
"""Commands whose answer has keys of its own in JSON."""


def options() -> Iterator[str]:
    """Each option of each command, and the exit code for one that it does not have."""
    for name in COMMANDS:
        said = _run(name, "--help")
        yield f"{name} --help: exit {said.returncode}"
        helps = said.stdout + "".join(_run(name, word, "--help").stdout for word in SUBCOMMANDS.get(name, ()))
        for option in sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", helps))):
            yield f"{name} {option}"
        yield f"{name} --no-such-option: exit {_run(name, '--no-such-option').returncode}"


def _run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program(name), *words], capture_output=True, text=True, timeout=patient(30))


def exit_codes() -> Iterator[str]:
    """Those that the manual pages list."""
    for page, text in sorted(pages().items()):
        section = re.search(r'^\.SH "EXIT STATUS"$(.*?)^\.SH', text, re.MULTILINE | re.DOTALL)
        for code in re.findall(r"^\\fB(\d+)\\fR$", section[1], re.MULTILINE) if section else ():
            yield f"{page}: {code}"


def events() -> Iterator[str]:
    """Number, level and name of every message, as popular-log(7) has them."""
    for number, level, name in re.findall(
        r"^\\fB([0-9a-f]{4}) ([A-Z]{3}) (\w+)\\fR$", pages()["popular-log.7"], re.MULTILINE
    ):
        yield f"{number} {level} {name}"


def words(proxy: Proxy) -> Iterator[str]:
    """The words of all commands, from `help`: how a command begins, and each further word that it knows."""
    for line in proxy.control("help").lines:
        form = re.split(r"\s{2,}", line.strip())[0]
        match = re.match(r"[a-z]+( [a-z]+(?![|a-z]))?", form)
        assert match is not None, line
        begin = match[0]
        yield begin
        for word in re.findall(r"(?<![<a-z])[a-z]+(?![a-z>])", form[len(begin) :]):
            yield f"{begin}: {word}"


def keys(proxy: Proxy, name: str) -> Iterator[str]:
    """The keys of the JSON answers, as paths; what is an id or a variable's name is a key too."""
    for question in QUESTIONS[name]:
        for path in sorted(set(_paths(proxy.json(question)))):
            yield f"{question}: {path}"


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, f"{path}[]")
    else:
        yield path


def metrics(scrape: Scrape) -> Iterator[str]:
    """Name, kind, labels; and the values of labels that are not ids, numbers or versions."""
    for stem, kind in sorted(scrape.kinds.items()):
        yield f"{stem} {kind}"
    for name, labels in sorted((name, tuple(sorted(labels))) for name, labels in scrape.samples):
        told = ",".join(f"{key}={value if key not in _OF_THE_HOST else '*'}" for key, value in labels)
        yield f"{name}{{{told}}}"


_OF_THE_HOST = frozenset({"openssl", "python", "version", "slot", "worker"})


def once(lines: Iterable[str]) -> str:
    """A file: each line once, in the order of the first."""
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def state(proxy: Proxy) -> Iterator[str]:
    """What a reader finds in the state file, by the names that `pstatus --json` and its callers use."""
    view = proxy.state()
    header = bytes(view._data[: struct.calcsize("<8s8s")])
    yield f"magic {header!r}"
    for column in view.layout.columns:
        yield f"column {column.name}"
    for gauge in view.gauges():
        yield f"gauge {gauge}"
    for name, value in view.counters().items():
        yield f"counter {name}"
        for label in value if isinstance(value, dict) else ():
            yield f"counter {name} {label}"
    for ending in view.layout.endings:
        yield f"ending {ending}"
    for phrase in view.layout.states:
        yield f"state {phrase}"
    for key in view.workers()[0]:
        yield f"worker {key}"
