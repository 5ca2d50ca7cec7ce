"""Time tells nobody who exists: unknown, wrong and locked are as dear as each other, with one module and with several.

Processor time is measured, not the clock: what others do on the machine is no part of it. The three take turns.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from popular.pdm.contract import Module, Question, Secret
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.libpdm_passwd import open_module
from tests.pdm.asking import ask
from tests.pdm.test_passwords import by_crypt

TRIES = 30
CHEAP, DEAR = 4000, 24_000
"""Rounds of a hash."""
UNKNOWN, WRONG, LOCKED = "unknown", "wrong", "locked"
NOISE = 1.6
"""Between two medians; a decoy that is missing makes it a hundred, one of the other form six."""


def users_of(directory: Path, name: str, rounds: int) -> Module:
    """A file with as many users as will be tried, and as many who are locked."""
    hashed = by_crypt("$6$", "right", rounds)
    lines = [f"default:{name}-{WRONG}{number}:{hashed}:store:" for number in range(TRIES)]
    lines += [f"default:{name}-{LOCKED}{number}:!{hashed}:store:" for number in range(TRIES)]
    path = directory / name
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return open_module(name, [str(path)])


def names(modules: Sequence[str]) -> Iterator[tuple[str, str]]:
    """One of each kind, TRIES times; those who are known are in each of the modules in turn."""
    of_modules = itertools.cycle(modules)
    for number in range(TRIES):
        module = next(of_modules)
        yield UNKNOWN, f"stranger{number}"
        yield WRONG, f"{module}-{WRONG}{number}"
        yield LOCKED, f"{module}-{LOCKED}{number}"


def spent(modules: Sequence[Module]) -> dict[str, list[float]]:
    """Seconds for each try, by kind."""
    took: dict[str, list[float]] = {UNKNOWN: [], WRONG: [], LOCKED: []}
    for kind, name in names([module.ident for module in modules]):
        question = Question("192.0.2.1", "POP3", "default", user=name, password=Secret(b"guess"), vserv="v")
        began = time.thread_time()
        decision = ask(modules, question)
        took[kind].append(time.thread_time() - began)
        assert isinstance(decision, NobodyKnows if kind is UNKNOWN else RefusedLogin), (name, decision)
    return took


def told(kinds: dict[str, list[float]]) -> dict[str, float]:
    """The medians, in milliseconds, for people too."""
    medians = {kind: 1000 * statistics.median(seconds) for kind, seconds in kinds.items() if seconds}
    print(", ".join(f"{kind} {median:.2f} ms" for kind, median in medians.items()))
    return medians


def assert_alike(medians: dict[str, float]) -> None:
    assert len(medians) == 3, medians
    assert max(medians.values()) < NOISE * min(medians.values()), medians


@pytest.mark.parametrize("rounds", [CHEAP, DEAR])
def test_with_one_module_the_three_take_the_same_time(tmp_path: Path, rounds: int) -> None:
    module = users_of(tmp_path, "one", rounds)
    assert isinstance(ask([module], Question("::1", "POP3", "default", "one-wrong1", Secret(b"right"), "v")), Admitted)
    assert_alike(told(spent([module])))


@pytest.mark.parametrize("order", [(CHEAP, DEAR), (DEAR, CHEAP)])
def test_with_two_modules_of_different_cost_too(tmp_path: Path, order: tuple[int, int]) -> None:
    """Each kind has its cheap and its dear ones, about as many of each, and these are as cheap and as dear as those of
    the other kinds.
    """
    took = spent([users_of(tmp_path, name, rounds) for name, rounds in zip(("one", "two"), order, strict=True)])
    border = (min(took[WRONG]) * max(took[WRONG])) ** 0.5
    for is_dear in (False, True):
        part = {kind: [one for one in several if (one >= border) is is_dear] for kind, several in took.items()}
        print("dear:" if is_dear else "cheap:", {kind: len(several) for kind, several in part.items()}, end=" ")
        assert min(map(len, part.values())) > TRIES // 10, part
        assert_alike(told(part))
