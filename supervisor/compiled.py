"""Which form of the hot modules runs: compiled, or pure Python, which does the same.

A module with a `.pxd` beside it (types for Cython) or a `.pyx` (the same once more, nearer to the kernel) can be
compiled; setup.py does it. Python takes a compiled form wherever one lies. Here is decided whether it may:

    POPULAR_PURE=1    never: not when something is built, not when it runs
    POPULAR_PURE=0    always: where there is no compiled form, nothing is built and nothing starts
    not set           if there is one, and it was made from exactly the sources that lie beside it

All of them or none, because compiled modules know each other's insides.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

PACKAGES = ("supervisor", "popular")
PURE, ALWAYS = "1", "0"
_OURS = tuple(f"{package}." for package in PACKAGES)
_ROOT = Path(__file__).resolve().parent.parent
_SUFFIX = EXTENSION_SUFFIXES[0]
_KINDS = (".py", ".pxd", ".pyx")


class Made(NamedTuple):
    """What was compiled: by which compiler, from which sources (their checksum), and the modules."""

    compiler: str
    sources: int
    modules: tuple[str, ...]


def hot_modules(root: Path = _ROOT) -> list[str]:
    """All that can be compiled."""
    found = {path.with_suffix("") for package in PACKAGES for path in (root / package).rglob("*.p[xy][dx]")}
    return sorted(".".join(path.relative_to(root).parts) for path in found)


def orphans(root: Path = _ROOT) -> list[Path]:
    """Compiled forms of modules that are gone, or no longer to be compiled: beside the sources, and in build/lib*, from
    where they would get into a wheel. Those that the build has made, by the C that it keeps: no others are ours.
    """
    hot, texts = set(hot_modules(root)), root / "build" / "cython"
    made = [path.relative_to(texts).with_suffix("") for path in sorted(texts.rglob("*.c"))]
    gone = [path for path in made if ".".join(path.parts) not in hot]
    places = (root, *root.glob("build/lib*"))
    return [found for path in gone for place in places for found in (place / path.parent).glob(f"{path.name}.*.so")]


def checksum(modules: Iterable[str], root: Path = _ROOT) -> int:
    """Over every file from which these are made."""
    found = 0
    for name in modules:
        for kind in _KINDS:
            path = (root / name.replace(".", "/")).with_suffix(kind)
            if path.exists():
                found = crc32(path.read_bytes(), found)
    return found


def record_path(root: Path = _ROOT) -> Path:
    """Where the build tells what it made, for this Python."""
    return root / "supervisor" / f"compiled{_SUFFIX.removesuffix('.so')}.txt"


def record(made: Made, path: Path) -> None:
    """Writes it down, at the end of the build."""
    path.write_text("\n".join((made.compiler, str(made.sources), *made.modules, "")))


def _recorded() -> Made | None:
    try:
        compiler, sources, *modules = record_path().read_text().splitlines()
    except OSError:
        return None
    return Made(compiler, int(sources), tuple(modules))


def hindrance() -> str:
    """Why nothing can be compiled on this machine, in a few words; "" if nothing is in the way."""
    if os.environ.get("POPULAR_PURE") == PURE:
        return "POPULAR_PURE is set"
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    if not any(os.access(Path(directory, command[0]), os.X_OK) for directory in os.get_exec_path()):
        return f"there is no C compiler ({command[0]})"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return f"there is no {header}"
    return "" if _finds(command, "zlib.h") else "the C compiler finds no zlib.h"


def _finds(command: Sequence[str], header: str) -> bool:
    """Whether a C compiler does: not all that have Python's headers have those of its libraries."""
    flags = f"{os.environ.get('CPPFLAGS', '')} {os.environ.get('CFLAGS', '')}".split()
    asked = [*command, *flags, "-E", "-include", header, "-x", "c", "/dev/null", "-o", "/dev/null"]
    silent = [(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]
    child = os.posix_spawnp(command[0], asked, os.environ, file_actions=silent)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _objection(made: Made | None) -> str:
    """Why the compiled form must not be used, or ""."""
    if os.environ.get("POPULAR_PURE") == PURE:
        return "POPULAR_PURE is set"
    if made is None:
        return "not compiled"
    if checksum(made.modules) != made.sources:
        return "compiled from other sources"
    return ""


class _PureFinder:
    """Finds the sources of our modules, where Python would find a compiled form first, whoever left it there."""

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        """The source, if there is a compiled form beside it."""
        if not name.startswith(_OURS):
            return None
        path = os.path.join(_ROOT, *name.split("."))
        if not os.path.exists(path + _SUFFIX):
            return None
        return spec_from_file_location(name, path + ".py")


def _choose() -> tuple[Made | None, str]:
    """What is used, and why not. Raises ImportError if that must not be."""
    made = _recorded()
    objection = _objection(made)
    if not objection:
        return made, ""
    if os.environ.get("POPULAR_PURE") == ALWAYS:
        raise ImportError(f"POPULAR_PURE=0, and the compiled core cannot be used: {objection}")
    sys.meta_path.insert(0, _PureFinder())
    return None, objection


IN_USE, REASON = _choose()
"""The compiled form that is used, or None, and the reason why there is none."""


def up_to_date() -> bool:
    """Whether there is nothing to compile: the compiled form is used, and has all modules that it can have, and no
    others.
    """
    return IN_USE is not None and list(IN_USE.modules) == hot_modules() and not orphans()


def form() -> str:
    """For people: which form this process uses."""
    return f"compiled by {IN_USE.compiler}" if IN_USE is not None else f"pure Python: {REASON}"


def tell() -> None:
    """One line, for whoever has just built it."""
    because = hindrance() if REASON == "not compiled" else ""
    print(f"POPular is {form()}{f', because {because}' if because else ''}")
