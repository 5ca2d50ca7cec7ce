"""Completions: what the parsers say, for each command that is installed, and bash really completes by them."""

import subprocess
from pathlib import Path

import pytest

from deploy.completions.__main__ import HERE, completions, there
from tests.deploy.commands import COMMANDS
from tests.patience import patient
from tests.system.site import need


def test_they_are_what_the_parsers_say() -> None:
    """No file is old, missing or left over; `python -m deploy.completions` writes them."""
    made = completions()
    assert there() == made.keys()
    assert {name: (HERE / name).read_text() for name in made} == made


def test_each_command_has_one_for_each_shell() -> None:
    """Whatever is installed can be completed."""
    wanted = {f"bash/{name}" for name in COMMANDS} | {f"zsh/_{name}" for name in COMMANDS}
    assert completions().keys() == wanted | {f"fish/{name}.fish" for name in COMMANDS}


def completed(words: list[str], where: Path) -> list[str]:
    """What bash offers for the last word of a command line."""
    line = " ".join(f"'{word}'" for word in words)
    script = f"""
        source {HERE}/bash/{words[0]}
        COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
        $(complete -p {words[0]} | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [need("bash"), "-c", script], cwd=where, capture_output=True, text=True, timeout=patient(20), check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pproxy", "--rund"], ["--rundir"]),
        (["pproxy", "--log-format", ""], ["text", "json"]),
        (["pproxy", "--config", "ppr"], ["pproxy.rc"]),
        (["pproxy", "--workers", ""], []),
        (["popular-demo", "--vers"], ["--version"]),
    ],
)
def test_bash_completes(words: list[str], offered: list[str], tmp_path: Path) -> None:
    """Options, their values, and files where a file is wanted."""
    (tmp_path / "pproxy.rc").touch()
    assert completed(words, tmp_path) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_theirs(shell: str) -> None:
    """Without a complaint."""
    program = need(shell)
    for path in (HERE / shell).iterdir():
        subprocess.run([program, "-n", str(path)], check=True, capture_output=True, timeout=patient(20))
