"""Compiles the hot modules (supervisor/compiled.py says which, and when); all else stands in pyproject.toml.

POPULAR_PURE=1 pip wheel .     without: a wheel for every platform
POPULAR_PURE=0 pip wheel .     fails where it cannot be compiled
POPULAR_SANITIZE=address,undefined …    watched by gcc's sanitizers, for tests (tests/sanitize/build.py)
POPULAR_PROFILE=collect …    counts what is run; POPULAR_PROFILE=DIR …    made by what was counted (deploy/training)
"""

import multiprocessing
import os
import shutil
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
PROFILE = os.environ.get("POPULAR_PROFILE", "")
COUNTS = PROFILE == "collect"
HAS_COUNTED = bool(PROFILE) and not COUNTS
WITH_PROFILE = " with a profile"
# Without a PLT each call of Python's goes straight through the table of addresses: one jump less, and in each of the
# modules a page of code less that has to be near.
QUICK = ["-O2", "-g0", "-fno-plt"]
FLAGS = [*(["-O1", "-g1", "-fno-omit-frame-pointer", *WATCH] if SANITIZED else QUICK), *QUIET]
# By what was counted: what no session ran through is made small.
PROFILED = ["-fprofile-use"] if HAS_COUNTED else ["-fprofile-generate", "-fprofile-update=atomic"] if COUNTS else []


class Build(build_ext):
    """Translates, compiles side by side, tells at the end what was made, and keeps nothing of modules that are gone."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        for path in compiled.orphans(ROOT):
            path.unlink()
        if not self.extensions:
            return
        names = [extension.name for extension in self.extensions]
        path = compiled.record_path(ROOT if self.inplace else Path(self.build_lib))
        if HAS_COUNTED:
            for name in names:
                counted(name)
        # What lies there was made by another profile; or by one, and now there is none.
        self.force = self.force or bool(PROFILE) or (path.exists() and WITH_PROFILE in path.read_text())
        path.unlink(missing_ok=True)
        super().run()
        made = compiled.Made(form_of(self.compiler.compiler[0]), compiled.checksum(names), tuple(names))
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
            # Only now: what Cython is told stands at the head of what it makes, and gcc knows a function by its line.
            extension.extra_compile_args += PROFILED
            extension.extra_link_args += PROFILED
        if HAS_COUNTED:
            self.lay_out_profile()
        super().build_extensions()

    def lay_out_profile(self) -> None:
        """Puts what was counted in each module beside its object file, where gcc looks for it."""
        for extension in self.extensions:
            (source,) = extension.sources
            target = Path(self.build_temp, source).with_suffix(".gcda")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(counted(extension.name), target)


def form_of(command: str) -> str:
    """What made it, such as "gcc 12", and whether by a profile."""
    return compiler_of(command) + (WITH_PROFILE if HAS_COUNTED else ", counting" if COUNTS else "")


def counted(name: str) -> Path:
    """The file with what was counted in a module. Raises SetupError if it is not there."""
    path = Path(PROFILE, *name.split(".")).with_suffix(".gcda")
    if not path.exists():
        raise SetupError(f"POPULAR_PROFILE: there is no {path}; was the training made with these sources?")
    return path


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
    return Extension(name, [source], extra_compile_args=[*FLAGS], extra_link_args=[*WATCH], libraries=libraries)


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
