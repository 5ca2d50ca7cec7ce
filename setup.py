"""Compiles the hot modules (supervisor/compiled.py says which, and when); all else stands in pyproject.toml.

POPULAR_PURE=1 pip wheel .     without: a wheel for every platform
POPULAR_PURE=0 pip wheel .     fails where it cannot be compiled
POPULAR_SANITIZE=address,undefined …    watched by gcc's sanitizers, for tests (tests/sanitize/build.py)
"""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
WISH = os.environ.pop("POPULAR_PURE", None)  # the compiled form need not be there while it is made
from supervisor import compiled  # noqa: E402

if WISH is not None:
    os.environ["POPULAR_PURE"] = WISH

DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # types stand in the .pxd files: annotations are for people and mypy
    "binding": False,
    "nonecheck": True,  # None where an object should be is an error, as in Python, and not the end of the worker
}
QUIET = ["-Wno-unused", "-Wno-sign-compare"]
SANITIZED = os.environ.get("POPULAR_SANITIZE", "")
WATCH = [f"-fsanitize={SANITIZED}", "-fno-sanitize-recover=all"] if SANITIZED else []
# Without a PLT each call of Python's goes straight through the table of addresses: one jump less, and in each of the
# modules a page of code less that has to be near.
QUICK = ["-O2", "-g0", "-fno-plt"]
FLAGS = [*(["-O1", "-g1", "-fno-omit-frame-pointer", *WATCH] if SANITIZED else QUICK), *QUIET]


class Build(build_ext):
    """Translates, compiles side by side, and tells at the end what was made."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        if not self.extensions:
            return
        names = [extension.name for extension in self.extensions]
        path = compiled.record_path(ROOT if self.inplace else Path(self.build_lib))
        path.unlink(missing_ok=True)
        super().run()
        made = compiled.Made(compiler_of(self.compiler.compiler[0]), compiled.checksum(names), tuple(names))
        compiled.record(made, path)

    def build_extensions(self) -> None:
        from Cython.Build import cythonize

        build = os.path.relpath(ROOT / "build" / "cython")  # so that ccache knows the same file in another clone
        # Side by side, unless the others would have to run this file anew.
        beside = os.cpu_count() if multiprocessing.get_start_method() == "fork" else 0
        found = cythonize(self.extensions, nthreads=beside, build_dir=build, compiler_directives=DIRECTIVES, quiet=True)
        sources = {extension.name: extension.sources for extension in found}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().build_extensions()


def compiler_of(command: str) -> str:
    """Name and major version, such as "gcc 12"."""
    version = subprocess.run([command, "-dumpversion"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{Path(command).name} {version.partition('.')[0]}"


def extensions() -> list[Extension]:
    """All of the core, or none of it."""
    hindrance = compiled.hindrance()
    if hindrance and WISH == compiled.ALWAYS:
        raise SetupError(f"POPULAR_PURE=0, and the core cannot be compiled: {hindrance}")
    if hindrance:
        return []
    return [extension(name) for name in compiled.hot_modules(ROOT)]


LIBRARIES = {"supervisor.octets": ["z"], "popular.net.tlscore": ["dl"]}


def extension(name: str) -> Extension:
    """One module. A `.pyx` is taken in place of the `.py`."""
    stem = name.replace(".", "/")
    source = f"{stem}.pyx" if (ROOT / f"{stem}.pyx").exists() else f"{stem}.py"
    libraries = LIBRARIES.get(name, [])
    return Extension(name, [source], extra_compile_args=FLAGS, extra_link_args=WATCH, libraries=libraries)


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
