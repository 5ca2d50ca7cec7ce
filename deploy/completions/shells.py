"""A parser's options in the words of three shells."""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

_PATHS = ("FILE", "DIR", "SOCKET", "PATH")
"""Metavariables behind which a shell completes file names."""


class Option(NamedTuple):
    """One option. `choices` are all values it can have; with `paths`, they are files."""

    names: tuple[str, ...]
    help: str
    takes: str
    choices: tuple[str, ...]

    @property
    def paths(self) -> bool:
        return any(word in self.takes for word in _PATHS)


def options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    """Those that are for people."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if action.option_strings and action.help is not argparse.SUPPRESS:
            text = formatter._expand_help(action) if action.help else ""
            name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
            takes = "" if action.nargs == 0 else name
            choices = tuple(str(choice) for choice in action.choices or ())
            yield Option(tuple(action.option_strings), " ".join(text.split()), takes, choices)


def bash(name: str, parser: argparse.ArgumentParser) -> str:
    """To be sourced."""
    known = list(options(parser))
    cases = []
    for option in known:
        if option.takes:
            what = f"-W {_quoted(' '.join(option.choices))}" if option.choices else "-f" if option.paths else ""
            reply = f'mapfile -t COMPREPLY < <(compgen {what} -- "$current"); ' if what else ""
            cases.append(f"        {'|'.join(option.names)}) {reply}return ;;\n")
    words = " ".join(word for option in known for word in option.names)
    function = f"_{name.replace('-', '_')}"
    return (
        f"{function}() {{\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
        f'    case "$before" in\n{"".join(cases)}    esac\n'
        f'    mapfile -t COMPREPLY < <(compgen -W {_quoted(words)} -- "$current")\n'
        f"}}\ncomplete -o default -F {function} {name}\n"
    )


def zsh(name: str, parser: argparse.ArgumentParser) -> str:
    """To lie in a directory of `fpath`, as `_NAME`."""
    lines = []
    for option in options(parser):
        what = ""
        if option.takes:
            values = f"({' '.join(option.choices)})" if option.choices else "_files" if option.paths else " "
            what = f":{_plain(option.takes)}:{values}"
        excluded = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
        lines += [f"    {_quoted(f'{excluded}{word}[{_plain(option.help)}]{what}')}" for word in option.names]
    return f"#compdef {name}\n_arguments \\\n" + " \\\n".join([*lines, "    '*:file:_files'\n"])


def fish(name: str, parser: argparse.ArgumentParser) -> str:
    """To lie in a directory of fish's completions, as `NAME.fish`."""
    lines = []
    for option in options(parser):
        words = [f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in option.names]
        if option.choices:
            words.append(f"-x -a {_quoted(' '.join(option.choices))}")
        elif option.takes:
            words.append("-r" if option.paths else "-x")
        lines.append(f"complete -c {name} {' '.join(words)} -d {_quoted(option.help)}\n")
    return "".join(lines)


def _quoted(text: str) -> str:
    """As one word of any of the three; what would end the quotes is left out."""
    return "'" + text.replace("\\", "").replace("'", "") + "'"


def _plain(text: str) -> str:
    """Without what separates the parts of a specification of zsh's."""
    return "".join(" " if character in "[]:" else character for character in text)
