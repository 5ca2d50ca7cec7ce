"""Whether there is what compiling takes: where something is missing, the core is Python, and nothing fails."""

import sysconfig
from pathlib import Path

import pytest

from supervisor import compiled


@pytest.fixture
def python_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python's own, as if it were there; what else is, the compiler tells."""
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    monkeypatch.delenv("POPULAR_PURE", raising=False)
    return tmp_path / "Python.h"


def _compiler(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "acc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("CC", f"{program} -pthread")


@pytest.mark.usefixtures("python_header")
def test_a_machine_without_the_headers_of_zlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one with gcc and a Python that was built elsewhere."""
    _compiler(tmp_path, """case "$*" in *zlib.h*) exit 1; esac""", monkeypatch)
    assert compiled.hindrance() == "the C compiler finds no zlib.h"


@pytest.mark.usefixtures("python_header")
def test_a_machine_with_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler is called with its own flags and those of the environment."""
    _compiler(tmp_path, """case "$*" in "-pthread -I/there -E -include zlib.h "*) exit 0; esac; exit 1""", monkeypatch)
    monkeypatch.setenv("CPPFLAGS", "-I/there")
    monkeypatch.delenv("CFLAGS", raising=False)
    assert compiled.hindrance() == ""


def test_a_machine_without_pythons_headers(
    python_header: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the compiler need not be asked."""
    _compiler(tmp_path, "exit 1", monkeypatch)
    python_header.unlink()
    assert compiled.hindrance() == f"there is no {python_header}"
