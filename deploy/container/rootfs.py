"""Gathers the root file system of the image: the interpreter, a virtual environment, and the libraries they load.

    python rootfs.py /opt/popular /rootfs 65532

Run with the Python that the environment was made with. There is no shell, package manager, pip or compiler in the
result. Every file stands where it stood: paths in the environment (#!, pyvenv.cfg) stay true. UID gets the run
directory and the mail spool, and is the user `popular` there. The directory must not exist.

Exit codes: 0 done, 1 a library is missing or a file cannot be copied (traceback), 2 bad command line.
"""

import compileall
import ctypes.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

LEFT_OUT = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "site-packages"),
    *("_tkinter*", "__pycache__", "config-*", "fetch_macholib*"),
)
"""Parts of the standard library that no program of ours imports or reads. The slim base has _tkinter without its Tk."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LOADED_BY_NAME = ("crypt",)
"""Libraries that are opened while running (popular.pdm.passwords), so that no file names them."""
TEXTS = {
    "/etc/passwd": "root:x:0:0::/:/nologin\npopular:x:{uid}:{uid}::/:/nologin\n",
    "/etc/group": "root:x:0:\npopular:x:{uid}:\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
}
DIRECTORIES = {
    "/tmp": (0o1777, False),
    "/etc/popular": (0o755, False),
    "/var/lib/popular": (0o700, True),
    "/var/run/popular": (0o700, True),
    "/var/spool/popular": (0o700, True),
}
"""Mode, and whether it is the user's."""


def within(root: Path, path: Path | str) -> Path:
    """Where an absolute path of the builder stands in the root file system."""
    return root / str(path).lstrip("/")


def copy_interpreter(root: Path) -> None:
    """The interpreter with its links, and the standard library."""
    binaries = Path(sys.base_prefix, "bin")
    within(root, binaries).mkdir(parents=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("python", "python3", f"python{version}"):
        shutil.copy2(binaries / name, within(root, binaries / name), follow_symlinks=False)
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    shutil.copytree(library, within(root, library), symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))


def loadable(root: Path) -> Iterator[Path]:
    """What the loader may be asked for: programs and shared objects."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and (".so" in path.name or path.parent.name == "bin"):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def libraries(loaded: Iterable[Path]) -> set[Path]:
    """The absolute paths of all that these files are linked with, the loader too."""
    found: set[Path] = set()
    for path in loaded:
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        if "not found" in said:
            raise SystemExit(f"{path}: {said}")
        found |= {Path(one) for one in re.findall(r"(/\S+) \(0x", said)}
    return found


def opened_by_name() -> set[Path]:
    """The libraries of LOADED_BY_NAME."""
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    names = {name: ctypes.util.find_library(name) for name in LOADED_BY_NAME}
    return {
        Path(re.findall(rf"^\s+{re.escape(str(one))} .*=> (\S+)$", cache, re.MULTILINE)[0]) for one in names.values()
    }


def copy_files(root: Path, paths: Iterable[Path]) -> None:
    """Copies what the paths lead to, unless it is there."""
    for path in paths:
        target = within(root, path)
        if not target.exists() and not path.is_relative_to(root):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def gather(environment: Path, root: Path, uid: int) -> None:
    """Makes the whole root file system."""
    root.mkdir(mode=0o755)
    copy_interpreter(root)
    shutil.copytree(environment, within(root, environment), symlinks=True, dirs_exist_ok=True)
    by_name = opened_by_name()
    copy_files(root, [*by_name, *libraries([*loadable(root), *by_name]), Path("/etc/ld.so.cache"), CERTIFICATES])
    for name, text in TEXTS.items():
        within(root, name).write_text(text.format(uid=uid))
    for name, (mode, owned) in DIRECTORIES.items():
        directory = within(root, name)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(mode)
        if owned:
            os.chown(directory, uid, uid)
    # The root file system will be read-only: what is not compiled now is compiled at every start.
    compileall.compile_dir(root, quiet=2, stripdir=str(root), prependdir="/")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    os.umask(0o022)
    gather(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
