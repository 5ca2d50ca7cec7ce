"""The manual pages: as the tables say, complete, and proper troff."""

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from deploy.man import __main__ as writer
from deploy.man import modules
from deploy.man.pages import pages
from deploy.man.parts import folded, messages
from popular.pdm import loader
from popular.pdm.contract import Answer, Question, Route
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.program import Program
from tests.deploy.commands import COMMANDS
from tests.patience import patient
from tests.system.site import need, program

HERE = Path(writer.__file__).parent
PAGES = pages()


def plain(name: str) -> str:
    """A page without troff's escapes and line ends."""
    return re.sub(r"\s+", " ", PAGES[name].replace("\\-", "-").replace("\\e", "\\").replace("\\&", ""))


def test_committed_pages_are_what_the_tables_say() -> None:
    """`make man` would change nothing."""
    assert writer.stale() == [], "run `make man` and commit"


def test_a_stale_page_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is missing, edited, or no longer made is found, and written anew or removed."""
    monkeypatch.setattr(writer, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["deploy.man"])
    assert writer.stale() == sorted(PAGES)
    assert writer.main() == 0
    assert writer.stale() == []
    (tmp_path / "pproxy.8").write_text("edited")
    (tmp_path / "old.1").write_text("gone")
    assert writer.stale() == ["old.1", "pproxy.8"]
    assert writer.main() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PAGES)


@pytest.mark.clients
@pytest.mark.parametrize("name", sorted(PAGES))
def test_mandoc_finds_no_fault(name: str) -> None:
    """Not even one of style."""
    done = subprocess.run(
        [need("mandoc"), "-Tlint"], input=PAGES[name], capture_output=True, text=True, timeout=patient(20), check=False
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_every_command_has_a_page() -> None:
    """Each entry point of the package has a page of its own."""
    assert len(COMMANDS) >= 8
    documented = {name.rpartition(".")[0] for name in PAGES}
    assert set(COMMANDS) - documented == set()


def test_references_lead_somewhere() -> None:
    """Each page named under SEE ALSO, or in a text, is one that there is (or the system's)."""
    foreign = {"crypt(3)", "listen(2)"}
    there = {re.sub(r"(.*)\.(\d)", r"\1(\2)", name) for name in PAGES}
    for name in PAGES:
        named = set(re.findall(r"[a-z-]+\(\d\)", plain(name).replace("\\fB", "").replace("\\fR", "")))
        assert named - there - foreign == set(), name


@pytest.mark.parametrize("program", [PPROXY, PSERV], ids=lambda program: program.name)
def test_variables_and_commands(program: Program) -> None:
    """Each variable, command and debug option has its paragraph."""
    text = plain(f"{program.name}-control.7")
    for word in [
        *(row.name for row in program.variables),
        *(row.usage for row in program.commands),
        *program.debug_options,
    ]:
        assert f".TP \\fB{word}\\fR" in text, word


def test_modules_of_the_package() -> None:
    """Each module that comes with the package is explained."""
    there = {path.stem.removeprefix("libpdm_") for path in Path(loader.__file__).parent.glob("libpdm_*.py")}
    named = set(re.findall(r"\.TP \\fB(\w+) \[?[A-Z]+", plain("pproxy-control.7").split('"MODULES"')[1]))
    assert named == there


def test_the_contract_of_modules() -> None:
    """Each field of the question and of the route, and whatever a module has, is explained, and nothing else."""
    assert tuple(modules.QUESTION) == Question._fields
    assert tuple(modules.ROUTE) == Route._fields
    assert tuple(modules.MODULE) == (*loader.CONTRACT, *loader.OPTIONAL)
    assert [answer.partition("(")[0] for answer in modules.ANSWERS] == [kind.__name__ for kind in get_args(Answer)]


def test_the_example_of_a_module(tmp_path: Path) -> None:
    """The commands on the page run the module that is printed there: it lets in whom the certificate names."""
    page = PAGES["popular-pdm.7"].replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")
    assert modules.EXAMPLE.read_text() in page
    *files, command = [
        line for line in page.split("without a proxy:")[1].splitlines() if line.startswith(("echo", "pt"))
    ]
    assert len(files) == 2
    command = command.replace("--dir deploy", f"--dir {HERE.parent}").replace("ptestpdm", program("ptestpdm"))
    for name, answer in (("ann", "admitted backend=store1"), ("joe", "nobody knows this user")):
        script = "\n".join([*files, command.replace("--certificate-name ann", f"--certificate-name {name}")])
        done = subprocess.run(
            ["/bin/sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=patient(20), check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert answer in done.stdout


def test_every_message_is_listed() -> None:
    """popular-log(7) has number, level, name and help of each message."""
    text = plain("popular-log.7")
    for message in messages():
        assert f".TP \\fB{message.number:04x} {message.level} {message.name}\\fR" in text
        assert message.help in text
    for ending in (*PPROXY.endings, *PSERV.endings):
        assert f".TP \\fB{ending}\\fR" in text


def test_a_number_is_explained_once() -> None:
    """Also one that several programs write; and no two programs have one number for two things."""
    numbers = [message.number for message in messages()]
    assert len(set(numbers)) == len(numbers)


def test_folding() -> None:
    """Long text is broken, but neither examples nor tags; no piece begins with what troff would obey."""
    long = "word " * 30 + ".dot " * 30
    page = folded(f".TP\n{long}\n{long}\n.nf\n{long}\n.fi\n")
    lines = page.splitlines()
    assert lines[1] == long
    assert lines[lines.index(".nf") + 1] == long
    assert all(len(line) <= 81 for line in lines if line.strip() != long.strip())
    assert not [line for line in lines if line.startswith(".dot")]
