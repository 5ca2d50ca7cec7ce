"""The authentication modules in use: a config has them opened, or takes them over from the one before.

Each is held by the services that use it, and closed when the last lets go of it. One that was opened and is not to be
used (it breaks the contract, or its list is empty all at once) is closed likewise: on the event loop, in bounded time.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any

from popular.pdm import loader
from popular.pdm.contract import LEAD, PASSWORD, AnyModule, ModuleFailed
from popular.pdm.guarded import CANNOT_BE_TOLD, Guarded, closed
from popular.pdm.threads import outcome_on_loop
from popular.pdm.unopened import Unopened
from popular.proxy.settings.modulefiles import (
    Former,
    Stamp,
    awaited,
    former_of,
    is_other_code,
    kinds_taken_by,
    report_on,
    stamp,
    stamp_now,
)
from popular.proxy.settings.modules import ModuleSpec
from supervisor.config import Config, Report
from supervisor.control.words import CommandRefused
from supervisor.runtime.lineend import LACKING
from supervisor.runtime.together import together
from supervisor.serving.context import WorkerContext

FAULTY_SECONDS = 20.0
"""So long, at most, others are opened when one cannot be, to tell all faults at once: the master waits for a minute."""


class OpenModule:
    """A module in use, with the number of services that hold it."""

    def __init__(
        self, spec: ModuleSpec, module: AnyModule, *, code: str, files: Mapping[str, Stamp] | None = None
    ) -> None:
        """`code`: of which it is (loader.code_of). `files`: what it is made of, if it cannot say that itself."""
        self.spec = spec
        self.module = module
        self.guard = Guarded(module)
        self.holders = 0
        self._flushed = spec.flushed
        self._fault = ""
        self.code = code
        self._newer = ""
        if files is None:
            files = {path: stamp(status) for path, status in getattr(module, "files", {}).items()}
        self._files = files

    def stays(self, reason: str) -> None:
        """It could not be reloaded, and is as it was; of its files, as they are now, nothing more is expected."""
        if isinstance(self.module, Unopened):
            self.module.reason = reason
        else:
            self._fault = f"{reason}; what was read before stays in use"
        self._files = {path: stamp_now(path) for path in self._files}

    def is_newer(self) -> None:
        """Its file has changed since other workers opened it, and here it is opened for the first time."""
        self._newer = (
            "its own file has changed: a worker born since then has the new code, those born before have the old; "
            f"`pdm reload {self.spec.id}` loads it in all"
        )

    def flush(self, flushed: tuple[int, str]) -> None:
        """Forgets what it has answered, if that is asked for anew."""
        if flushed != self._flushed:
            self._flushed = flushed
            self.guard.cache.flush(flushed[1])

    def report(self) -> Report:
        """What the master shall know of it."""
        notes = [self._fault] if self._fault else getattr(self.module, "notes", ())
        if self._newer:
            notes = [*notes, self._newer]
        skipped = getattr(self.module, "skipped", 0)
        takes = getattr(self.module, "takes", (PASSWORD,))
        return report_on(
            self.spec.id,
            self.spec.reloads,
            notes,
            skipped=skipped,
            files=self._files,
            takes=takes,
            code=self.code,
            former=_former(self.module),
        )

    def release(self, context: WorkerContext) -> None:
        """From whatever thread: it is closed on the event loop, which it may need for that."""
        self.holders -= 1
        if self.holders == 0:
            _begin_on_loop(self.guard.close(), context)


def open_modules(
    context: WorkerContext, config: Config, before: Sequence[OpenModule], *, tolerant: bool, lacking: Sequence[str] = ()
) -> list[OpenModule]:
    """All of them, each held once more; or none, with CommandRefused. Where the config is in force, one that cannot be
    opened is none that could tell. `lacking`: for what else it is refused, whatever the modules are.
    """
    had = {held.spec.id: held for held in before}
    opener = _Opener(context, config)
    opened: list[OpenModule] = []
    faults = list(lacking)
    until = monotonic() + FAULTY_SECONDS
    try:
        for spec in config.things["pdm"].values():
            if faults and monotonic() > until:
                break
            try:
                opened.append(opener.if_possible(spec) if tolerant else opener.module(spec, had.get(spec.id)))
                opened[-1].holders += 1
                if spec.terms.moves and not tolerant and not opened[-1].guard.leads:
                    why = f"no `{LEAD}`; or sql without `update`, or with :vserv or :address in its query"
                    raise ModuleFailed(f"moves: {CANNOT_BE_TOLD} ({why})")
            except ModuleFailed as error:
                faults.append(f"module {spec.id}: {error}")
        if faults:
            raise CommandRefused(together(faults))
    except BaseException:
        for held in opened:
            held.release(context)
        raise
    return opened


def _begin_on_loop(closing: Coroutine[Any, Any, None], context: WorkerContext) -> None:
    """From whatever thread. Nobody waits for it, so what it raises is nobody's."""
    asyncio.run_coroutine_threadsafe(outcome_on_loop(closing), context.loop)


class _Opener:
    """Opens the modules of a config."""

    def __init__(self, context: WorkerContext, config: Config) -> None:
        self._context, self._config = context, config

    def if_possible(self, spec: ModuleSpec) -> OpenModule:
        """A new one; or one that cannot tell, if it cannot be opened."""
        config = self._config
        try:
            held = self.module(spec, None)
            if is_other_code(config, spec.id, held.code):
                held.is_newer()
            return held
        except BaseException as error:  # what a module raises must not keep the others from being asked
            takes = kinds_taken_by(config, spec.id)
            former = former_of(config, spec.id)
            unopened = Unopened(
                spec.id,
                spec.args,
                _reason(error),
                takes=takes,
                knows_nobody=not former.knew_somebody,
                ended=former.ended,
                opens=partial(self._load, spec, former),
            )
            return OpenModule(spec, unopened, code="", files=awaited(config, spec.id))

    def module(self, spec: ModuleSpec, had: OpenModule | None) -> OpenModule:
        """The module as it is, or its successor after `pdm reload`, or a new one. Raises ModuleFailed."""
        if had is None or not had.spec.is_same(spec):
            return self._loaded(spec, former_of(self._config, spec.id) if had is None else Former())
        if had.spec.reloads != spec.reloads:
            try:
                made = self._successor(spec, had)
                if spec.lenient and is_other_code(self._config, spec.id, made.code):
                    made.is_newer()
                return made
            except BaseException as error:  # what a module raises must not stop the change of all others
                reason = _reason(error)
                if not spec.lenient:
                    raise ModuleFailed(reason) from None
                had.stays(reason)
        had.flush(spec.flushed)
        return had

    def _successor(self, spec: ModuleSpec, had: OpenModule) -> OpenModule:
        """After `pdm reload`: of the code that is there now. After `pdm check`, which only looks at what a module
        reads, of the same code: what is edited counts when the operator says so.
        """
        former = _former(had.module)
        is_edited = loader.code_of(spec.directory, spec.mod) not in ("", had.code)
        if isinstance(had.module, Unopened) or (is_edited and not spec.lenient):
            return self._loaded(spec, former)
        made = loader.successor(had.module, self._discard)
        if made is not had.module:
            self._refuse_unless_like(former, made)
        return OpenModule(spec, made, code=had.code)

    def _loaded(self, spec: ModuleSpec, former: Former) -> OpenModule:
        code = loader.code_of(spec.directory, spec.mod)  # first: what is written meanwhile counts as a change
        return OpenModule(spec, self._load(spec, former), code=code)

    def _load(self, spec: ModuleSpec, former: Former) -> AnyModule:
        made = loader.load(spec.directory, spec.mod, spec.id, arguments=spec.args, unwanted=self._discard)
        self._refuse_unless_like(former, made)
        return made

    def _refuse_unless_like(self, former: Former, made: AnyModule) -> None:
        """ModuleFailed if all users are gone, since `fallback` would be shown the passwords of all of them; and if a
        file is cut, since its last line may lead a user into the mailbox of somebody else.
        """
        now = _former(made)
        cut = former.lacks_of(now.ended)
        fault = ""
        if former.knew_somebody and not now.knew_somebody:
            (path, *_) = getattr(made, "files", None) or (made.ident,)
            fault = f"{path}: all users are gone; if that is meant, `pdm del` and `pdm add` the module"
        elif cut:
            fault = f"{cut} {LACKING}"
        if fault:
            self._discard(made)
            raise ModuleFailed(fault)

    def _discard(self, opened: Any) -> None:
        """Nobody has asked it, and nobody is to."""
        _begin_on_loop(closed(opened), self._context)


def _former(module: AnyModule) -> Former:
    return Former(not getattr(module, "knows_nobody", False), frozenset(getattr(module, "ended", ())))


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, ModuleFailed) else type(error).__name__
