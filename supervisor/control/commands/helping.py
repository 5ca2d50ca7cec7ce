"""Commands about commands: what explains them (help), says them for a program (json), and ends them (complete)."""

from collections.abc import Iterable, Sequence

from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand, Variable, in_rows
from supervisor.control.language.kinds import Kind, String, nearest, shown
from supervisor.control.language.outcome import Outcome, Reply
from supervisor.control.words import CommandRefused, Word, phrase, quote, split

_JSON = "json"


def _help(context: CommandContext, arguments: Arguments) -> Outcome:
    words: Sequence[Word] = arguments["word"]
    if not words:
        lines = [f"{command.usage}  {command.summary}" for command in context.language.commands]
        return Reply("help WORD tells more about a command or a variable", data=lines)
    about = [
        command
        for command in context.language.commands
        if command.shape.head[: len(words)] == tuple(words[: len(command.shape.head)])
    ]
    variables = [row for row in context.program.variables if len(words) == 1 and row.name == words[0]]
    if not about and not variables:
        explained = _parameter_help(words, context)
        if explained:
            return Reply(data=explained)
        known = {command.shape.head[0] for command in context.language.commands}
        near = nearest(words[0], [*known, *(row.name for row in context.program.variables)])
        raise CommandRefused(f"no help about {shown(' '.join(words))}{near}", words[0].column)
    if len(about) > 1 and not variables:
        return Reply(data=[f"{command.usage}  {command.summary}" for command in about])
    lines = [line for row in variables for line in variable_help(row, context)]
    lines += [line for command in about for line in command_help(command)]
    # A parameter may have the name of a command.
    return Reply(data=lines + (_parameter_help(words, context) if len(words) == 1 and about else []))


def _parameter_help(words: Sequence[str], context: CommandContext) -> list[str]:
    """The lines about a parameter, the last word, from each command that begins with the others."""
    *head, parameter = words
    return [
        line
        for command in context.language.commands
        if command.shape.head[: len(head)] == tuple(head)
        for line in _lines_about(parameter, command)
    ]


def _lines_about(parameter: str, command: ControlCommand) -> list[str]:
    text = command.explained.get(parameter)
    return [command.usage, in_rows({parameter: text})] if text is not None else []


def command_help(command: ControlCommand) -> list[str]:
    """The whole help of a command, line by line."""
    kinds = {f"<{name}>": kind.describe() for name, kind in command.slots.items() if isinstance(kind, Kind)}
    source = [f"Source: {command.source}."] if command.source else []
    return [command.usage, *command.help.split("\n"), *(in_rows({name: kind}) for name, kind in kinds.items()), *source]


def variable_help(row: Variable, context: CommandContext) -> list[str]:
    """The whole help of a variable, line by line."""
    first = (
        []
        if row.read_only
        else [f"Default: {quote(row.kind.format(row.first(context.ceilings)))}. Counts for: {row.when}."]
    )
    access = "read-only" if row.read_only else "read-write"
    return [f"{row.name}  {row.kind.describe()}, {access}", row.help, *first, f"Source: {row.source}."]


def _help_words(context: CommandContext, arguments: Arguments) -> Iterable[str]:
    said = [str(word) for word in arguments["word"]]
    return [*context.language.next_words(said), *([] if said else [row.name for row in context.program.variables])]


def _json(context: CommandContext, arguments: Arguments) -> Outcome:
    first = arguments["command"][0]
    if first.lower() == _JSON:
        raise CommandRefused(f"{_JSON} is there already; allowed once", first.column)
    return context.language.execute(arguments["command"], context).as_json()


def _command_words(context: CommandContext, arguments: Arguments) -> Iterable[str]:
    if [str(word).lower() for word in arguments["command"][:1]] == [_JSON]:
        return ()  # once is all
    begun = phrase(arguments["command"])
    # Candidates come back written; the caller writes them again.
    return [split(word)[0] for word in context.language.complete(f"{begun} " if begun else "", context)]


def _complete(context: CommandContext, arguments: Arguments) -> Outcome:
    return Reply(data=context.language.complete(arguments["text"], context))


def help_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            "help [<word>]…",
            _help,
            "Lists the commands, or explains a command or a variable.",
            {"word": _help_words},
            source=BESIDE,
        ),
        ControlCommand(
            "json <command>…",
            _json,
            "Says a command and gets its data as one line of JSON.\nTimes are in seconds. Without data it is null.",
            {"command": _command_words},
            source=BESIDE,
        ),
        ControlCommand(
            "complete <text>",
            _complete,
            "Lists the words that can end an unfinished command.\nThe command is one word, in quotes.",
            {"text": String(8192)},
            source=BESIDE,
        ),
    ]
