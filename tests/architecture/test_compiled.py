"""Which form of the hot modules runs, and that their types say what their sources say."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import compiled
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
HOT = compiled.hot_modules()
TYPED = [name for name in HOT if (ROOT / name.replace(".", "/")).with_suffix(".pxd").exists()]


def test_the_form_is_the_one_that_it_should_be() -> None:
    """What runs is what was said: a test run never goes on with another form unseen."""
    endings = {Path(str(importlib.import_module(name).__file__)).suffix for name in HOT}
    if os.environ.get("POPULAR_PURE") == compiled.PURE:
        assert (compiled.IN_USE, compiled.REASON, endings) == (None, "POPULAR_PURE is set", {".py"})
    elif compiled.IN_USE is not None:
        assert (list(compiled.IN_USE.modules), endings) == (HOT, {".so"})
    else:
        assert (compiled.REASON, endings) == ("not compiled", {".py"}), "make core"


@pytest.mark.processes
def test_it_is_compiled_wherever_it_can_be() -> None:
    """The compiler is asked."""
    said = os.environ.get("POPULAR_PURE") == compiled.PURE
    assert said or compiled.IN_USE is not None or compiled.hindrance(), f"{compiled.REASON}: make core"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("wish", "changed", "said"),
    [
        (None, "", "compiled by"),
        ("0", "", "compiled by"),
        ("1", "", "pure Python: POPULAR_PURE is set"),
        (None, "popular/protocol/lines.py", "pure Python: compiled from other sources"),
        ("0", "popular/protocol/lines.pxd", "the compiled core cannot be used: compiled from other sources"),
        (None, compiled.record_path().name, "pure Python: not compiled"),
    ],
)
def test_a_compiled_form_is_used_if_it_was_made_from_these_sources(
    tmp_path: Path, wish: str | None, changed: str, said: str
) -> None:
    """A form of other sources runs nowhere, nor one whose build was broken off; POPULAR_PURE=0 starts nothing then, and
    POPULAR_PURE=1 never takes one.
    """
    if not compiled.record_path().exists():
        said = said.replace("compiled by", "pure Python: not compiled").replace("compiled from other sources", "not co")
    for package in compiled.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    if changed.startswith("compiled"):
        (tmp_path / "supervisor" / changed).unlink(missing_ok=True)
    elif changed:
        with (tmp_path / changed).open("a") as file:
            file.write("# another line\n")
    environment = {name: value for name, value in os.environ.items() if name != "POPULAR_PURE"}
    if wish is not None:
        environment["POPULAR_PURE"] = wish
    code = "from popular.protocol import lines; from supervisor import compiled; print(compiled.form(), lines.__file__)"
    command = [sys.executable, "-c", code]
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert said in done.stdout + done.stderr
    if done.returncode == 0:
        suffix = ".so" if "compiled by" in done.stdout else ".py"
        assert done.stdout.strip().endswith(suffix)
        assert str(tmp_path) in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize(("wish", "code"), [(None, 0), ("1", 0), ("0", 1)])
def test_without_a_compiler_python_is_built(tmp_path: Path, wish: str | None, code: int) -> None:
    """And that is told in one line, with the reason; unless POPULAR_PURE=0 wants the compiled form and no other."""
    for package in compiled.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "compiled.*.txt")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "POPULAR_PURE"}
    environment |= {"CC": "/nowhere/cc", "PYTHONPATH": str(tmp_path)} | ({"POPULAR_PURE": wish} if wish else {})

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)

    built = run("setup.py", "--quiet", "build_ext", "--inplace")
    assert (built.returncode, list(tmp_path.rglob("*.so"))) == (code, []), built.stderr
    reason = "POPULAR_PURE is set" if wish == "1" else "there is no C compiler (/nowhere/cc)"
    if code:
        assert reason in built.stderr
        return
    told = run("-c", "from supervisor import compiled; compiled.tell()")
    assert told.stdout.splitlines() == [told.stdout.strip()]
    assert reason in told.stdout


@pytest.mark.processes
def test_what_was_compiled_of_a_module_that_is_gone_goes(tmp_path: Path) -> None:
    """Beside the sources and in what a wheel is made of; a module that was never compiled here stays, as do all whose
    sources are there.
    """
    for package in compiled.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "compiled.*.txt")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    made, lib, theirs = tmp_path / "build" / "cython", tmp_path / "build" / "lib.of-311", "popular/pdm"
    suffix = compiled.record_path().suffixes[0] + ".so"
    for stem in ("popular/protocol/renamed", "popular/protocol/lines", "supervisor/common_metrics"):
        (made / stem).parent.mkdir(parents=True, exist_ok=True)
        (made / f"{stem}.c").touch()
        for place in (tmp_path, lib):
            (place / stem).parent.mkdir(parents=True, exist_ok=True)
            (place / f"{stem}{suffix}").touch()
    (tmp_path / theirs / f"libpdm_somebodys{suffix}").touch()
    environment = os.environ | {"CC": "/nowhere/cc", "PYTHONPATH": str(tmp_path)}
    environment.pop("POPULAR_PURE", None)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True, timeout=PATIENCE)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.so")} == {
        f"popular/protocol/lines{suffix}",
        f"build/lib.of-311/popular/protocol/lines{suffix}",
        f"{theirs}/libpdm_somebodys{suffix}",
    }


@pytest.mark.processes
def test_a_profile_that_is_not_there_is_told_before_anything_is_made(tmp_path: Path) -> None:
    """And what was compiled before stays as it is."""
    for package in compiled.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    there = {path: path.read_bytes() for path in tmp_path.rglob("*.so")}
    environment = {name: value for name, value in os.environ.items() if name != "POPULAR_PURE"}
    environment |= {"POPULAR_PROFILE": str(tmp_path / "nowhere")}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "POPULAR_PROFILE: there is no" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.so")} == there


@pytest.mark.processes
def test_without_headers_python_is_built(tmp_path: Path) -> None:
    """In an environment of a Python that has none; and which one is missing is told in the one line."""
    code = "import sysconfig; sysconfig._INSTALL_SCHEMES['venv']['include'] = '/nowhere'\n"
    code += "sysconfig._INSTALL_SCHEMES[sysconfig.get_default_scheme()]['include'] = '/nowhere'\n"
    code += f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "from supervisor import compiled; compiled.REASON, compiled.IN_USE = 'not compiled', None; compiled.tell()"
    environment = {name: value for name, value in os.environ.items() if name != "POPULAR_PURE"}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert told.stdout == "POPular is pure Python: not compiled, because there is no /nowhere/Python.h\n", told.stderr


@pytest.mark.parametrize("module", TYPED)
def test_types_name_the_slots_of_the_sources(module: str) -> None:
    """Each class of a `.pxd` has the fields that its source has as slots: the compiled form knows no others."""
    path = ROOT / module.replace(".", "/")
    if path.with_suffix(".pyx").exists():
        return  # its classes are written twice, and the same tests run with both
    tree = ast.parse(path.with_suffix(".py").read_text("utf-8"))
    slots = {node.name: set(_slots(node)) for node in tree.body if isinstance(node, ast.ClassDef)}
    typed = dict(_typed(path.with_suffix(".pxd").read_text("utf-8")))
    assert typed == {name: slots[name] for name in typed}


def _slots(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=ast.Tuple(elts=names)):
                yield from (str(name.value) for name in names if isinstance(name, ast.Constant))


def _typed(text: str) -> Iterator[tuple[str, set[str]]]:
    """The classes of a `.pxd`, with their fields."""
    for part in re.split(r"^cdef class ", text, flags=re.MULTILINE)[1:]:
        name = re.match(r"\w+", part)
        assert name is not None
        fields = re.findall(r"^ +cdef (?:public |readonly )?[\w.\[\]: ]+? ?(\w+(?:, \w+)*)$", part, flags=re.MULTILINE)
        yield name.group(), {field for group in fields for field in group.split(", ")}
