"""Writes the completions (bash/NAME, zsh/_NAME, fish/NAME.fish); what is no longer made is removed."""

from argparse import ArgumentParser
from pathlib import Path

from deploy.completions import shells
from metrics import pstatus
from popular.demo import command as demo
from popular.pdm import pcdb, ptestpdm
from popular.programs import PROGRAMS
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from popular.store.tools import pcheck, pcheckd, pclean, pdeliver
from supervisor import options as start
from supervisor.pcontrol import options as pcontrol
from supervisor.ringd import main as ringd

HERE = Path(__file__).parent


def parsers() -> dict[str, ArgumentParser]:
    """The command line of each program that is installed."""
    return {
        "pproxy": start.options(PPROXY),
        "pserv": start.options(PSERV),
        "pcontrol": pcontrol.options_parser(PROGRAMS),
        "pstatus": pstatus.options(PROGRAMS),
        "ringd": ringd.options(),
        "pcheckd": pcheckd.options(),
        "pcheck": pcheck.options(),
        "pclean": pclean.options(),
        "pdeliver": pdeliver.options(),
        "pcdb": pcdb.options(),
        "ptestpdm": ptestpdm.options(),
        "popular-demo": demo.options(),
    }


def completions() -> dict[str, str]:
    """Each file's name below this directory, and what it holds."""
    made = {}
    for name, parser in parsers().items():
        made[f"bash/{name}"] = shells.bash(name, parser)
        made[f"zsh/_{name}"] = shells.zsh(name, parser)
        made[f"fish/{name}.fish"] = shells.fish(name, parser)
    return made


def there() -> set[str]:
    """The files that are there."""
    return {str(path.relative_to(HERE)) for shell in ("bash", "zsh", "fish") for path in HERE.glob(f"{shell}/*")}


def main() -> None:
    """The command."""
    made = completions()
    for name in there() - made.keys():
        (HERE / name).unlink()
    for name, text in made.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
