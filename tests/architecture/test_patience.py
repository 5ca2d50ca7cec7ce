"""Limits of time in the tests come from one place, and quick tests start no process."""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import patience, processes

ROOT = Path(__file__).parents[2]
LIMITS = {
    **dict.fromkeys(("wait", "join", "settimeout", "timeout"), 0),
    **dict.fromkeys(("create_connection", "control"), 1),
    **dict.fromkeys(("wait_until", "turn_until"), 2),
    "wait_until_answering": 3,
}
"""Calls that take a limit, and its place among the arguments."""
KEYWORDS = {"timeout", "patience", "seconds"}
VALUES = {"CachedAnswer"}
"""Whatever is made with such a keyword, and waits for nothing."""


def bare_limits(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines with a limit of a second or more that is a number, or a name of one. What is shorter waits for nothing to
    come.
    """
    named = {
        ast.unparse(target)
        for node in tree.body
        if isinstance(node, ast.Assign) and _is_bare(node.value)
        for target in node.targets
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in VALUES:
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS]
        given += node.args[LIMITS[name] :][:1] if name in LIMITS else []
        for value in given:
            if _is_bare(value) or ast.unparse(value) in named:
                yield node.lineno, ast.unparse(node)


def _is_bare(value: ast.expr) -> bool:
    """A number, or a sum of which one part is such a number."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _is_bare(value.left) or _is_bare(value.right)
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value >= 1


def bounds_of_time(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines that assert of a difference between two times of the wall clock that it is less than something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            for compared in (one for one in ast.walk(node.test) if isinstance(one, ast.Compare)):
                for left, operator in zip([compared.left, *compared.comparators], compared.ops, strict=False):
                    if isinstance(operator, ast.Lt | ast.LtE) and _is_a_lapse(left):
                        yield node.lineno, ast.unparse(node)


def _is_a_lapse(node: ast.AST) -> bool:
    clocks = ("time.monotonic()", "time.perf_counter()", "time.time()")
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and ast.unparse(node.left) in clocks


def test_bounds_of_time_have_a_margin() -> None:
    """That something took long enough may be asserted; how little it took, only by `within`: ten times the goal."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in (ROOT / "tests").rglob("*.py")
        for line, text in bounds_of_time(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []


def test_every_limit_is_scaled() -> None:
    """Written as `patient(SECONDS)`, so that POPULAR_TEST_PATIENCE reaches it."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {call}"
        for path in (ROOT / "tests").rglob("*.py")
        for line, call in bare_limits(ast.parse(path.read_text("utf-8")))
    ]
    assert found == [], "write patient(SECONDS), from tests/patience.py:\n" + "\n".join(found)


def test_a_bare_limit_is_found() -> None:
    """As an argument by place or by name, or by the name of a number; a span in which nothing is to come is none."""
    bare = ("p.wait(20)", "wait_until(x, 'y', 5)", "run(z, timeout=3 + LONG)", "run(z, timeout=LONG)")
    calls = (*bare, "s.settimeout(0.2)")
    tree = ast.parse("\n".join((*calls, "p.wait(patient(20))", "LONG = 30")))
    assert [line for line, _ in bare_limits(tree)] == [1, 2, 3, 4]
    assert list(bare_limits(ast.parse("@pytest.mark.timeout(600)\ndef test_it(): ...")))


def pytest_run(*words: str, factor: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, of tests in the tree."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "POPULAR_TEST_PATIENCE": factor}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=patience.patient(60)
    )


@pytest.mark.processes
def test_the_time_of_a_whole_test_is_scaled() -> None:
    """With a factor of a millionth pytest-timeout ends any test; a factor of 1 lets it pass."""
    one = "tests/architecture/test_patience.py::test_a_bare_limit_is_found"
    ended, passed = pytest_run(one, factor="1e-6"), pytest_run(one, factor="1")
    assert (passed.returncode, "1 passed" in passed.stdout) == (0, True), passed.stdout
    assert ended.returncode != 0
    assert "Timeout" in ended.stdout + ended.stderr


@pytest.mark.timeout(patience.patient(600))
def test_a_limit_of_its_own() -> None:
    """Which the next test looks at."""
    time.sleep(0.1)


@pytest.mark.processes
def test_a_limit_of_its_own_is_scaled_once() -> None:
    """By a hundredth it is six seconds; by a hundredth twice it would be over. By five twice, a test that hangs in the
    night's run would be waited for until noon.
    """
    done = pytest_run("tests/architecture/test_patience.py::test_a_limit_of_its_own", factor="0.01")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


def test_a_quick_test_starts_no_process() -> None:
    """It is refused in whatever way it is tried, before there is one; and it fails, also if it does not mind."""
    for start in (lambda: subprocess.run(["true"]), os.fork, lambda: os.posix_spawn("/bin/true", ["true"], {})):
        with pytest.raises(AssertionError, match="starts a process"):
            start()
    assert processes.forget() == ["subprocess.Popen", "os.fork", "os.posix_spawn"]
