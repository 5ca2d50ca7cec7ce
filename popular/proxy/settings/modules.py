"""Authentication modules as they are configured: `pdm add ID MOD ARG…`, which says what a module is, and `pdm conf ID`,
which says on what terms it is asked. They are asked in the order of the list.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from popular.proxy.settings import modulefiles, secretfiles
from popular.proxy.settings.backend import OURS_ALONE, blind_note, is_blind, leads_blindly_to
from popular.proxy.settings.moduleterms import TERMS, ModuleTerms
from supervisor.config import Config
from supervisor.control.commands import things
from supervisor.control.commands.thing_commands import (
    changes_of,
    completed_pairs,
    explained_parameters,
    ids,
    list_handler,
    named,
    parameter_help,
    room_for_one_more,
)
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import Id, nearest, shown
from supervisor.control.language.language import fit
from supervisor.control.language.outcome import Change, LogEntry, Outcome, Reply
from supervisor.control.language.replytext import noted
from supervisor.control.words import CommandRefused, phrase
from supervisor.program import PeriodicCommand
from supervisor.runtime.plural import count_of

CHAPTER = "Runtime configuration: the pdm command"
CHECK = "pdm check"
PERIODIC = PeriodicCommand(CHECK, "pdmwatch")

_flushes = itertools.count(1)
"""No two flushes have the same number, also where one was not carried out."""
_TITLE = "authentication module"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class ModuleSpec:
    """A module: file `libpdm_MOD` in `directory`, opened with `args`.

    `terms`: on what terms it is asked. `reloads` counts `pdm reload`: another number than before asks for it.
    `lenient`: if that fails, it may stay as it was. `flushed` is the same for `cache flush`: a number, and whom it is
    to forget. None of them says anything about what the module is.
    """

    id: str
    mod: str
    args: tuple[str, ...]
    directory: str
    terms: ModuleTerms
    reloads: int = field(default=0, compare=False)
    lenient: bool = field(default=False, compare=False)
    flushed: tuple[int, str] = field(default=(0, ""), compare=False)

    def is_same(self, other: "ModuleSpec") -> bool:
        """Whether the two are one module, on whatever terms."""
        return self.added == other.added

    @property
    def added(self) -> tuple[str, str, tuple[str, ...], str]:
        """What it is."""
        return self.id, self.mod, self.args, self.directory

    @property
    def in_effect(self) -> "ModuleSpec":
        """As it works, whatever was said of its terms."""
        return replace(self, terms=things.in_effect(self.terms))

    def reloaded(self, lenient: bool = False) -> "ModuleSpec":
        """The module, to be loaded anew."""
        return replace(self, reloads=self.reloads + 1, lenient=lenient)


def conf_command(module: ModuleSpec) -> list[str]:
    """The command that sets its terms, if some were set."""
    return [things.command_of(TERMS, module.terms, module.terms.given)] if module.terms.given else []


def add_command(module: ModuleSpec) -> str:
    """The command that adds a module."""
    return phrase(["pdm", "add", module.id, module.mod, *module.args])


def _add(context: CommandContext, arguments: Arguments) -> Outcome:
    word, mod = arguments["id"], arguments["mod"]
    ident = str(fit(Id(), word, context.lookups, what="id"))
    if not _NAME.fullmatch(mod):
        raise CommandRefused(f"{shown(mod)} is not a module name; allowed: letters, digits, _ and -", mod.column)
    directory = context.config.variables["pdmdir"]
    args = tuple(str(arg) for arg in arguments["arg"])
    module = ModuleSpec(ident, str(mod), args, directory=directory, terms=ModuleTerms.make(ident))
    there: ModuleSpec | None = context.config.things["pdm"].get(ident)
    if there is not None and there.is_same(module):  # the same file said twice must not be refused
        return Change(f"module {ident} is there already, added by the same words", config=context.config)
    if there is not None:
        raise CommandRefused(
            f"module {shown(ident)} is there already, as: {add_command(there)}; `pdm del {ident}` first", word.column
        )
    room_for_one_more("pdm", _TITLE, context)
    done = f"module {ident} is added"
    notes = (_backend_note(module, context), _blind_note(module, context))
    return Change(noted(done, *notes), config=context.config.with_thing("pdm", ident, module))


def _blind_note(module: ModuleSpec, context: CommandContext) -> str | None:
    """That nobody would look at a password any more. Raises CommandRefused where that must not be."""
    backend = context.config.things["backend"].get(module.args[0]) if is_blind(module) else None
    if backend is None or not leads_blindly_to(module, backend):
        return None
    if backend.login in OURS_ALONE:
        raise CommandRefused(blind_note(module, backend))
    return blind_note(module, backend)


def _backend_note(module: ModuleSpec, context: CommandContext) -> str | None:
    """The argument of `any` is a backend; those of the other modules are their own affair."""
    named = module.args[0] if module.mod == "any" and module.args else None
    backends = context.config.things["backend"]
    if named is None or named in backends:
        return None
    return f'no backend "{named}" is configured yet{nearest(named, backends)}'


def _reload(context: CommandContext, arguments: Arguments) -> Outcome:
    module: ModuleSpec = named("pdm", arguments["id"], context)
    config = context.config.with_thing("pdm", module.id, module.reloaded())
    return Change(f"module {module.id} is reloaded", config=config)


def _conf(context: CommandContext, arguments: Arguments) -> Outcome:
    module: ModuleSpec = named("pdm", arguments["id"], context)
    terms = module.terms.with_parameters(changes_of(TERMS, context, arguments))
    config = context.config.with_thing("pdm", module.id, replace(module, terms=terms))
    return Change(noted(f"module {module.id} is changed", _check_terms(terms, context)), config=config)


def _check_terms(terms: ModuleTerms, context: CommandContext) -> str | None:
    """A note for the reply. Raises CommandRefused."""
    if terms.allow and not terms.like:
        raise CommandRefused("allow: say `like BACKEND` too, whose protocol, TLS and limits count for these servers")
    if terms.stale and not terms.cache:
        raise CommandRefused("stale: only what is remembered can be stale; say `cache TIME` too")
    backends = context.config.things["backend"]
    if terms.like and terms.like not in backends:
        return f'no backend "{terms.like}" is configured yet{nearest(terms.like, backends)}'
    return None


def _flush_caches(context: CommandContext, arguments: Arguments) -> Outcome:
    whom = str(arguments["user"] or "")
    config = context.config
    cached = [module for module in config.things["pdm"].values() if module.terms.cache or module.terms.negative]
    absorbs = any(backend.absorb for backend in config.things["backend"].values())
    if not cached and not absorbs:
        return Reply("no module has a cache")
    for module in cached:
        config = config.with_thing("pdm", module.id, replace(module, flushed=(next(_flushes), whom)))
    return Change(f"{shown(whom) if whom else 'every answer'} is forgotten", config=config)


def _check(context: CommandContext, _arguments: Arguments) -> Outcome:
    config = context.config
    files = tuple(sorted({*modulefiles.watched(config), *secretfiles.watched(config)}))
    found = context.lookups.find(modulefiles.LookAtModules(files)) if files else {}
    changed = modulefiles.changed(config, found)
    for ident in changed:
        config = config.with_thing("pdm", ident, config.things["pdm"][ident].reloaded(lenient=True))
    changed += modulefiles.may_be_there_again(config, found)
    entries: list[LogEntry] = []
    for ident, name, kept, entry in secretfiles.read_anew(context.config, found, context.lookups):
        changed.append(f"the secret of backend {ident}")
        entries.append(entry)
        config = config.with_thing("backend", ident, replace(config.things["backend"][ident], **{name: kept}))
    if not changed:
        return Reply("nothing has changed")
    return Change(f"read anew: {', '.join(changed)}", config=config, entries=entries)


def _del(context: CommandContext, arguments: Arguments) -> Outcome:
    ident = named("pdm", arguments["id"], context).id
    return Change(f"module {ident} is deleted", config=context.config.without_thing("pdm", ident))


def _flush(context: CommandContext, _arguments: Arguments) -> Outcome:
    gone = len(context.config.things["pdm"])
    return Change(f"{count_of(gone, _TITLE)} deleted", config=context.config.without_things("pdm"))


def _show(context: CommandContext, arguments: Arguments) -> Outcome:
    module: ModuleSpec = named("pdm", arguments["id"], context)
    notes = modulefiles.notes_on(context.config, module.id)
    data = {
        "id": module.id,
        "mod": module.mod,
        "args": list(module.args),
        "directory": module.directory,
        "skipped": modulefiles.skipped_lines(context.config, module.id),
        "notes": notes,
        "conf": {
            name: row.kind.format(getattr(module.terms, name)) if name == "allow" else getattr(module.terms, name)
            for name, row in things.parameters(ModuleTerms).items()
        },
    }
    lines = [add_command(module), *conf_command(module), *(f"# {note}" for note in notes)]
    return Reply(data=data, lines=lines)


def _list(context: CommandContext, arguments: Arguments) -> Outcome:
    return list_handler(context, arguments, sort="pdm", title=_TITLE)


def rc_lines(config: Config) -> list[str]:
    """Adds every module from the directory that it came from, and leaves `pdmdir` as it is."""
    lines: list[str] = []
    here = last = config.variables["pdmdir"]
    for module in config.things["pdm"].values():
        if module.directory != here:
            lines.append(phrase(["set", "pdmdir", module.directory]))
            here = module.directory
        lines.append(add_command(module))
        lines += conf_command(module)
    if here != last:
        lines.append(phrase(["set", "pdmdir", last]))
    return lines


def pdm_commands() -> Sequence[ControlCommand]:
    """The rows."""
    known = {"id": ids("pdm")}
    explained = explained_parameters(TERMS)
    return (
        ControlCommand(
            "pdm list", _list, "Lists the ids of the modules, in the order in which they are asked.", source=CHAPTER
        ),
        ControlCommand("pdm flush", _flush, "Deletes all modules.", changes=True, source=CHAPTER),
        ControlCommand(
            "pdm add <id> <mod> [<arg>]…",
            _add,
            "Adds a module at the end of the list.\nThe file libpdm_MOD is looked for in pdmdir, with any suffix that "
            "Python imports. The arguments go to the module as they are.",
            {"id": lambda _context, _said: (), "mod": lambda _context, _said: (), "arg": lambda _context, _said: ()},
            changes=True,
            source=CHAPTER,
        ),
        ControlCommand(
            "pdm conf <id> [<parameter> <value>]…",
            _conf,
            "Says on what terms a module is asked.\nIt stays open as it is. Parameters that are not named stay as they "
            f"are.\n{parameter_help(explained)}",
            {**known, **completed_pairs(TERMS)},
            changes=True,
            source=BESIDE,
            explained=explained,
            pairs=things.kinds_of_pairs(TERMS),
        ),
        ControlCommand(
            "cache flush [<user>]",
            _flush_caches,
            "Forgets what modules have answered, of all users or of one (NAMESPACE:USER, or USER in any namespace).\n"
            "When it is answered, no worker uses any more what was said before; nor which mailboxes were empty "
            "(`absorb` of a backend), of all users.",
            {"user": lambda _context, _said: ()},
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand("pdm del <id>", _del, "Deletes a module from the list.", known, changes=True, source=CHAPTER),
        ControlCommand(
            "pdm reload <id>",
            _reload,
            "Reloads a module.\nMost open their files and connections anew. One whose own file was edited "
            "(libpdm_MOD, not of those that come with the proxy) is loaded from it. If that fails it stays as it is.",
            known,
            changes=True,
            source=CHAPTER,
            one_off=True,
        ),
        ControlCommand(
            CHECK,
            _check,
            "Reloads the modules with a file that has changed, and reads anew a backend's mastersecret that has.\nThe "
            "program says this to itself every pdmwatch. If a file cannot be used, what was read of it before stays in "
            "use, and the log says why; what a new worker could not open or read is tried again every minute. A file "
            "that was written less than a second ago is left for the next time; best replace it by renaming a finished "
            "one.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "pdm show <id>",
            _show,
            "Shows a module as the command that adds it.\nThe lines can be pasted back; those that begin with # say "
            "what is wrong with its files.",
            known,
            source=CHAPTER,
        ),
    )
