"""The commands that every program has: show, set, debug, shutdown, sessions, kill, workers; those about whole
configurations (`draft.py`, `history.py`, `generations.py`), and those about commands (`helping.py`).

`common_commands()` gives the rows; the handlers below are pure. A program adds its own rows after them.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from supervisor.control.commands.difference import config_lines
from supervisor.control.commands.draft import draft_commands
from supervisor.control.commands.generations import generation_commands
from supervisor.control.commands.helping import help_commands
from supervisor.control.commands.history import history_commands
from supervisor.control.commands.variables import BESIDE, DAY
from supervisor.control.language.context import Arguments, CommandContext, Completer, ControlCommand, Variable, in_rows
from supervisor.control.language.kinds import Base64, Choice, String, Time, nearest, shown
from supervisor.control.language.language import fit
from supervisor.control.language.outcome import (
    Change,
    EndSession,
    Outcome,
    Recycle,
    Reply,
    SecretForNext,
    Shutdown,
    Signed,
)
from supervisor.control.language.replytext import lines_of, noted
from supervisor.control.words import SECRET, CommandRefused, Word, phrase
from supervisor.runtime.plural import count_of

SHOW_AND_SET = "Runtime configuration: the show and set commands"
SHUTDOWN = "Runtime configuration: the shutdown command"
DEBUG = "Runtime configuration: the debug command"
ALL, NONE = "ALL", "NONE"
_LONGEST_SIGNED = 400
HOW = {
    "parent": "The master ends; the workers finish their sessions.",
    "children": "All sessions are ended at once; the program goes on with new workers.",
    "all": "All sessions are ended at once, and the program.",
    "delayed": "Nobody is accepted any more; the program ends when the last session does.",
}


def variable_named(word: str, context: CommandContext, others: Sequence[str] = ()) -> Variable:
    """The row of a variable. Raises CommandRefused with the nearest name, which may be one of the others."""
    rows = {row.name: row for row in context.program.variables}
    if word not in rows:
        near = nearest(word, [*rows, *others])
        raise CommandRefused(f"no variable {shown(word)}{near}", getattr(word, "column", None), of_form=True)
    return rows[word]


def _show(context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["variable"]
    chosen = context.program.variables if word is None else [variable_named(word, context, ["config"])]
    rows = sorted(chosen, key=lambda row: (not row.read_only, row.name))
    values = {row.name: row.value(context) for row in rows}
    return Reply(data=values, lines=[phrase([row.name, row.kind.format(values[row.name])]) for row in rows])


def _show_config(context: CommandContext, _arguments: Arguments) -> Outcome:
    lines = config_lines(context)
    if context.past is None or context.past.seconds_left is None:
        return Reply(data=lines)
    left = f"awaits `confirm`: {context.past.seconds_left} s left, then the configuration before comes back"
    return Reply(left, data=lines, lines=[f"# {left}", *lines])


def _set(context: CommandContext, arguments: Arguments) -> Outcome:
    word: Word = arguments["variable"]
    row = variable_named(word, context)
    if row.read_only:
        raise CommandRefused(f"{row.name} is read-only", word.column, of_form=True)
    value = fit(row.kind, arguments["content"], context.lookups, what=row.name)
    try:
        note = row.check(context, value) if row.check is not None else None
    except CommandRefused as refused:
        raise CommandRefused(f"{row.name}: {refused.text}", arguments["content"].column) from None
    done = f"{phrase([row.name, row.kind.format(value)])}; counts for: {row.when}"
    return Change(noted(done, note), config=context.config.with_variable(row.name, value))


def _variables(read_write_only: bool, context: CommandContext, _arguments: Arguments) -> Iterable[str]:
    return [row.name for row in context.program.variables if not (read_write_only and row.read_only)]


def _contents(context: CommandContext, arguments: Arguments) -> Iterable[str]:
    rows = {row.name: row for row in context.program.variables}
    row = rows.get(arguments["variable"])
    return row.kind.complete("") if row is not None else []


def _debug(context: CommandContext, arguments: Arguments) -> Outcome:
    words: Sequence[Word] = arguments["options"]
    if not words:
        options = sorted(context.config.debug)
        return Reply(data=options, lines=[" ".join(options) or NONE])
    sign = words[0][:1]
    if sign not in ("=", "+", "-"):
        raise CommandRefused(
            "options are set with =, added with + or removed with -, such as: debug +NET,CTRL",
            words[0].column,
            of_form=True,
        )
    named = _debug_options(context, words)
    now = context.config.debug
    options_set = {"=": named, "+": now | named, "-": now - named}[sign]
    text = " ".join(sorted(options_set)) or NONE
    notes = [note for option, note in context.program.debug_notes.items() if option in options_set]
    return Change(noted(text, *notes), config=context.config.with_debug(options_set))


def _debug_options(context: CommandContext, words: Sequence[Word]) -> frozenset[str]:
    known = context.program.debug_options
    allowed = [*known, ALL, NONE]
    named: set[str] = set()
    said = False
    for place, word in enumerate(words):
        for option in (word[1:] if place == 0 else word).split(","):
            name = option.upper()
            said = said or bool(name)
            if name == ALL:
                named |= known.keys()
            elif name in known:
                named.add(name)
            elif name not in (NONE, ""):
                text = f"{shown(option)} is unknown{nearest(name, allowed)}; allowed: {', '.join(allowed)}"
                raise CommandRefused(text, word.column, of_form=True)
    if not said:
        raise CommandRefused(f"no option is named; allowed: {', '.join(allowed)}", words[0].column, of_form=True)
    return frozenset(named)


def _debug_words(context: CommandContext, arguments: Arguments) -> Iterable[str]:
    options = [*context.program.debug_options, ALL, NONE]
    return options if arguments["options"] else [sign + option for sign in "=+-" for option in options]


def _shutdown(context: CommandContext, arguments: Arguments) -> Outcome:
    how = arguments["how"]
    options = dict(zip(arguments["option"], arguments["time"], strict=True))
    if options and how != "delayed":
        raise CommandRefused("grace and deadline are options of shutdown delayed")
    grace = options.get("grace", context.config.variables["grace"] if how == "delayed" else 0)
    is_said, deadline = "grace" in options, options.get("deadline")
    return Shutdown(HOW[how], how=how, grace=grace, grace_is_said=is_said, deadline=deadline)


def _recycle(_context: CommandContext, _arguments: Arguments) -> Outcome:
    return Recycle()


def _sessions(context: CommandContext, arguments: Arguments) -> Outcome:
    wanted: dict[str, set[str]] = {}
    for name, value in zip(arguments["filter"], arguments["value"], strict=True):
        wanted.setdefault(name, set()).add(value)
    rows = [row for row in context.status.sessions() if all(str(row.get(name)) in wanted[name] for name in wanted)]
    return Reply(count_of(len(rows), "session"), data=rows, lines=None if rows else ["no session"])


def _filter_values(context: CommandContext, arguments: Arguments) -> Iterable[str]:
    name = arguments["filter"][-1]
    return dict.fromkeys(str(row.get(name)) for row in context.status.sessions())


def _session_ids(context: CommandContext, _arguments: Arguments) -> Iterable[str]:
    return [str(row["sid"]) for row in context.status.sessions()]


def _kill(context: CommandContext, arguments: Arguments) -> Outcome:
    word: Word = arguments["sid"]
    if word not in _session_ids(context, arguments):
        raise CommandRefused(f"no session {shown(word)}; `sessions` lists them", word.column)
    return EndSession(f"session {word} is ended", sid=str(word))


def _secret(_context: CommandContext, arguments: Arguments) -> Outcome:
    return SecretForNext("it counts for the next command on this connection", secret=arguments["octets"])


def _sign(_context: CommandContext, arguments: Arguments) -> Outcome:
    said = dict(zip(arguments["what"], arguments["text"], strict=True))
    if not said:
        raise CommandRefused("say as NAME, message TEXT, or both")
    text = "it counts for the commands that follow on this connection"
    return Signed(text, name=said.get("as"), reason=said.get("message"))


def _workers(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = context.status.workers()
    # People read the word that the log has for it; the key in JSON stays what programs know.
    shown = [{"birth" if key == "generation" else key: value for key, value in row.items()} for row in rows]
    return Reply(count_of(len(rows), "worker"), data=rows, lines=lines_of(shown))


def common_commands(filters: Sequence[str]) -> list[ControlCommand]:
    """The rows. `filters` are the columns of a session that `sessions` can be asked for."""
    variables: Completer = partial(_variables, False)
    writable: Completer = partial(_variables, True)
    return [
        ControlCommand(
            "show [<variable>]",
            _show,
            "Shows a variable, or all of them.\nEach line is a name and a value, as `set` takes them.",
            {"variable": variables},
            source=SHOW_AND_SET,
        ),
        ControlCommand(
            "show config",
            _show_config,
            "Shows the running configuration as an rc file that recreates it.\nVariables and parameters that were "
            "never set are left out: they follow their defaults. A comment in front tells that `confirm` is awaited.",
            source=BESIDE,
        ),
        ControlCommand(
            "set <variable> <content>",
            _set,
            "Sets a variable.",
            {"variable": writable, "content": _contents},
            changes=True,
            source=SHOW_AND_SET,
        ),
        ControlCommand(
            "debug [<options>]…",
            _debug,
            "Shows or changes which debug messages are logged.\n`debug =NET,CTRL` logs these only, `debug +NET` adds "
            "one, `debug -NET` removes one; ALL and NONE stand for all and for none. ALL includes those that are a "
            "security risk.",
            {"options": _debug_words},
            changes=True,
            source=DEBUG,
        ),
        ControlCommand(
            "shutdown <how> [<option> <time>]…",
            _shutdown,
            f"Ends the program, or its sessions.\n{in_rows(HOW)}\n`shutdown delayed grace 10s` goes on accepting "
            "for 10 seconds, so that load balancers can look elsewhere. `deadline 10m` ends the sessions that are left "
            "after 10 minutes: first those that are not logged in or idle, then those in a transfer; who has said QUIT "
            "gets the reply. Said again, it changes the deadline.",
            {"how": Choice(*HOW), "option": Choice("grace", "deadline"), "time": Time(0, DAY)},
            changes=True,
            source=SHUTDOWN,
            one_off=True,
            explained=HOW,
        ),
        ControlCommand(
            "sessions [<filter> <value>]…",
            _sessions,
            "Lists the living sessions.\nA filter keeps those with this value; the same filter twice keeps either, two "
            "different filters keep what fits both.",
            {"filter": Choice(*filters), "value": _filter_values},
            source=BESIDE,
            again=True,
        ),
        ControlCommand(
            "kill <sid>",
            _kill,
            "Ends one session, by its session id.",
            {"sid": _session_ids},
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "workers", _workers, "Lists the workers; a birth is the number that a worker has for life.", source=BESIDE
        ),
        ControlCommand(
            "workers recycle",
            _recycle,
            "Renews the workers, one slot after the other, without losing a session.\nThe new worker of a slot accepts "
            "before the old one stops; the old one finishes its sessions and goes.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            f"{SECRET} <octets>",
            _secret,
            "Says a secret, for the next command on this connection.\nIt is not logged and kept nowhere; pcontrol "
            "says it by itself (`--secret`). A command that takes none forgets it.",
            {"octets": Base64()},
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            "sign [<what> <text>]…",
            _sign,
            "Says who speaks, and why, for the commands that follow on this connection.\nIt is kept beside each "
            "change, in history and audit log, and gives no rights: those go by the user and groups that the kernel "
            "tells. pcontrol says it by itself (`--as`, `--message`).",
            {"what": Choice("as", "message"), "text": String(_LONGEST_SIGNED)},
            source=BESIDE,
        ),
        *draft_commands(),
        *history_commands(),
        *generation_commands(),
        *help_commands(),
    ]
