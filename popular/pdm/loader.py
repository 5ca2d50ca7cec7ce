"""Brings an authentication module in: `load(directory, name, ident, arguments)`.

Looks for `libpdm_NAME` in the directory, with any suffix that Python imports; where there are several, compiled code
goes before source and source before byte code, as in Python itself. Each load imports the file anew under a name of its
own, so that two modules from one file, or a file that was edited in between, never share state. Nothing is ever written
into the directory. Whatever goes wrong is a `ModuleFailed` with one line that names the file and the reason.

Loading a module is running its code: whoever may write the file or a directory above it is the proxy. So one that
others than root, the proxy's user and this user's primary group can write is refused. Those that come with the proxy
are as safe as the rest of its code, and are not looked at. A daemon keeps their code from its start (`keep_ours`): a
release that is installed over it does not reach the workers that are born later.
"""

import difflib
import hashlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeAlias, cast

from popular.pdm.contract import AnyModule, AsyncModule, Module, ModuleFailed
from supervisor.runtime.directory import FileOwner, why_not_trusted

OWN_DIRECTORY = Path(__file__).parent
"""Where the modules that come with the proxy are: the default of `pdmdir`."""

PREFIX = "libpdm_"

CONTRACT: dict[str, Callable[[object], bool]] = {
    "ident": lambda value: isinstance(value, str),
    "arguments": lambda value: isinstance(value, Sequence) and not isinstance(value, str),
    "flags": lambda value: isinstance(value, str),
    "check": callable,
    "authenticate": callable,
    "reload": callable,
    "close": callable,
}
"""What each module has, by name. One that derives from `Module` has most of it; a compiled one brings it along."""

OPTIONAL: dict[str, Callable[[object], bool]] = {
    "notes": lambda value: isinstance(value, Sequence) and all(isinstance(note, str) for note in value),
    "skipped": lambda value: isinstance(value, int),
    "files": lambda value: isinstance(value, Mapping),
    "ended": lambda value: isinstance(value, Collection) and not isinstance(value, str),
    "takes": lambda value: isinstance(value, Collection) and not isinstance(value, str),
    "by_address": lambda value: isinstance(value, bool),
    "knows_nobody": lambda value: isinstance(value, bool),
}
"""What a module may have. One that does not derive from `Module`, and lacks it, counts as having nothing to say."""

_BY_CALLS: dict[str, Callable[[object], bool]] = {"blocking": lambda value: isinstance(value, bool)}
_ON_LOOP: dict[str, Callable[[object], bool]] = dict.fromkeys(
    ("check", "authenticate", "close"), inspect.iscoroutinefunction
)
"""What the one kind has beside, and the other: one whose `check` or `authenticate` is a coroutine has no other ones."""

_QUESTIONS = ("check", "authenticate")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_serial = itertools.count(1)
_PACKAGE = __name__.rpartition(".")[0]
_kept: dict[str, CodeType] = {}


class _UncachedSource(SourceFileLoader):
    """Source compiled at each load: a byte code cache would miss an edit within one second, and write into `pdmdir`."""

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError(path)


class _KeptCode(SourceFileLoader):
    """Executes what this file held when the daemon started."""

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return _kept[str(self.path)]


class _KeptModules:
    """Finds what a module of ours imports beside it, and nobody has needed before: first in `sys.meta_path`."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `sys.meta_path` asks for it."""
        del path, target
        package, _, name = fullname.rpartition(".")
        file = str(OWN_DIRECTORY / f"{name}.py")
        if package != _PACKAGE or file not in _kept:
            return None
        return spec_from_file_location(fullname, file, loader=_KeptCode(fullname, file))


_LOADERS = (
    (EXTENSION_SUFFIXES, ExtensionFileLoader),
    (SOURCE_SUFFIXES, _UncachedSource),
    (BYTECODE_SUFFIXES, SourcelessFileLoader),
)


Unwanted: TypeAlias = Callable[[Any], None]
"""Is given what was opened and is not to be used, to close it."""


def _left_alone(_opened: Any) -> None:
    """For who ends soon."""


def load(
    directory: Path | str, name: str, ident: str, *, arguments: Sequence[str], unwanted: Unwanted = _left_alone
) -> AnyModule:
    """Opens module `name` from this directory under the id `ident`. Raises ModuleFailed."""
    path = _find(Path(directory), name)
    _refuse_if_strangers_write(path)
    module = _import(path)
    try:
        opened = _open(module, path, ident, arguments=arguments)
        _keep_if_sound(opened, path, ident=ident, unwanted=unwanted)
    except ModuleFailed:
        sys.modules.pop(module.__name__, None)
        raise
    return cast(AnyModule, opened)


def keep_ours() -> None:
    """Keeps the code of the modules that come with us, and of what they import beside them, as it is now.

    Nothing is executed, so a library is imported only by who uses it. To be called before the workers are born: they
    share it. What cannot be read is not kept: it is read when it is needed, as without this.
    """
    with suppress(OSError):
        _keep(OWN_DIRECTORY.glob("*.py"))
    if _KeptModules not in sys.meta_path:
        sys.meta_path.insert(0, _KeptModules)


def _keep(files: Iterable[Path]) -> None:
    for file in files:
        name = f"{_PACKAGE}.{file.stem}"
        is_compiled = any(file.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES)
        if name in sys.modules or is_compiled or file.stem == "__init__":
            continue
        code = SourceFileLoader(name, str(file)).get_code(name)
        if code is not None:
            _kept[str(file)] = code


def code_of(directory: Path | str, name: str) -> str:
    """What tells the code that this module's file holds now from other code; "" if it cannot be read, and of those that
    come with the proxy: they change with the release, and half of one is none.
    """
    try:
        path = _find(Path(directory), name)
        return "" if _is_ours(path) else hashlib.sha256(path.read_bytes()).hexdigest()
    except (ModuleFailed, OSError):
        return ""


def successor(module: AnyModule, unwanted: Unwanted = _left_alone) -> AnyModule:
    """What `reload` of a module gives, if it keeps the contract as one that is opened must. Raises ModuleFailed, or
    whatever the module does.
    """
    ident = module.ident
    made = module.reload()
    _keep_if_sound(made, "its successor", ident=ident, unwanted=_left_alone if made is module else unwanted)
    return made


def available(directory: Path | str) -> list[str]:
    """The names of the modules in this directory, in order of the alphabet; empty if it cannot be read."""
    suffixes = tuple(suffix for suffixes, _ in _LOADERS for suffix in suffixes)
    try:
        files = [entry.name for entry in Path(directory).iterdir() if entry.is_file()]
    except OSError:
        return []
    names = {
        file.removeprefix(PREFIX).partition(".")[0]
        for file in files
        if file.startswith(PREFIX) and file.endswith(suffixes)
    }
    return sorted(name for name in names if _NAME.fullmatch(name))


def _find(directory: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ModuleFailed(
            f"'{name}' cannot be the name of a module: letters, digits, '_' and '-' are allowed, 64 at most"
        )
    for suffixes, _ in _LOADERS:
        for suffix in suffixes:
            path = directory / f"{PREFIX}{name}{suffix}"
            if str(path) in _kept or path.is_file():
                return path
    comes_with_us = directory != OWN_DIRECTORY and name in available(OWN_DIRECTORY)
    hint = f"; the one that comes with the proxy is in {OWN_DIRECTORY} (`set pdmdir`)" if comes_with_us else ""
    raise ModuleFailed(f"no module '{name}' in {directory}: {_what_there_is(directory, name)}{hint}")


def _is_ours(path: Path) -> bool:
    return path.resolve().parent == OWN_DIRECTORY.resolve()


def _refuse_if_strangers_write(path: Path) -> None:
    if _is_ours(path):
        return
    try:
        why_not = why_not_trusted(path, FileOwner.present())
    except OSError as error:
        raise ModuleFailed(f"{path} cannot be looked at: {error.strerror}") from None
    if why_not:
        raise ModuleFailed(f"{path} is not loaded, others could have written it: {why_not}")


def _what_there_is(directory: Path, wanted: str) -> str:
    names = available(directory)
    if not names:
        return f"no {PREFIX}* is there" if directory.is_dir() else "there is no such directory"
    names.sort(key=lambda name: difflib.SequenceMatcher(None, wanted, name).ratio(), reverse=True)
    return "there are " + ", ".join(names) if len(names) > 1 else f"there is {names[0]}"


def _import(path: Path) -> ModuleType:
    # The last part of the name must be the file's: compiled modules are entered at PyInit_libpdm_NAME.
    private_name = f"popular_pdm_{next(_serial)}.{path.name.partition('.')[0]}"
    kept = str(path) in _kept
    loader = _KeptCode if kept else next(kind for suffixes, kind in _LOADERS if path.name.endswith(tuple(suffixes)))
    spec = spec_from_file_location(private_name, path, loader=loader(private_name, str(path)))
    assert spec is not None, "a loader was given"
    assert spec.loader is not None, "a loader was given"
    try:
        module = module_from_spec(spec)
        sys.modules[private_name] = module  # dataclasses look their module up by name
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() is one, and the panic of a module in Rust
        sys.modules.pop(private_name, None)
        raise ModuleFailed(f"{path} cannot be imported: {_in_one_line(error)}") from None
    return module


def _in_one_line(error: BaseException) -> str:
    text = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _open(module: ModuleType, path: Path, ident: str, *, arguments: Sequence[str]) -> object:
    open_module = getattr(module, "open_module", None)
    if not callable(open_module):
        raise ModuleFailed(f"{path} is not a module of the proxy: it has no function open_module(ident, arguments)")
    try:
        return open_module(ident, tuple(arguments))
    except (ModuleFailed, KeyboardInterrupt):
        raise
    except BaseException as error:
        # Arguments may hold passwords, and so may the text of an error that quotes them: the kind must do.
        raise ModuleFailed(f"{path} could not be opened: {type(error).__name__}{_place(error, path)}") from None


def _place(error: BaseException, path: Path) -> str:
    """Where in the module's own file it went wrong, as " in line 7"; empty if it cannot be told."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""


def _keep_if_sound(opened: object, path: Path | str, *, ident: str, unwanted: Unwanted) -> None:
    try:
        _hold_to_contract(opened, path, ident=ident)
    except BaseException:
        unwanted(opened)
        raise


def _hold_to_contract(opened: object, path: Path | str, *, ident: str) -> None:
    kind = type(opened)
    on_loop = any(inspect.iscoroutinefunction(getattr(kind, name, None)) for name in _QUESTIONS)
    base = AsyncModule if on_loop else Module
    for name, is_met in (CONTRACT | (_ON_LOOP if on_loop else _BY_CALLS)).items():
        try:
            value = getattr(opened, name)
        except Exception:
            raise ModuleFailed(f"{path} does not keep the contract: what it opened has no '{name}'") from None
        if not is_met(value):
            wanted = "be a coroutine function, as the others are" if name in _ON_LOOP and callable(value) else ""
            raise ModuleFailed(
                f"{path} does not keep the contract: its '{name}' must "
                f"{wanted or f'not be of type {type(value).__name__}'}"
            )
    if opened.ident != ident:  # type: ignore[attr-defined]  # it was looked at above
        raise ModuleFailed(f"{path} does not keep the contract: its 'ident' must be '{ident}', as it was opened")
    for name, is_met in OPTIONAL.items():
        value = getattr(opened, name, getattr(Module, name))
        if not is_met(value):
            raise ModuleFailed(
                f"{path} does not keep the contract: its '{name}' must not be of type {type(value).__name__}"
            )
    if all(getattr(kind, question, None) is getattr(base, question) for question in _QUESTIONS):
        raise ModuleFailed(f"{path} does not keep the contract: it answers neither 'check' nor 'authenticate'")
