"""Whole sessions, each played once through a real `pproxy`. In single octets the machine plays them (`test_pure.py`).

The scripts are the files `*.txt` beside this one; `script.py` says how to write them.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import Proxy, need
from tests.transcripts.performance import Differs
from tests.transcripts.play import Stage, play
from tests.transcripts.script import BadScript, Script, by_set_up, octets, read, shown

_FILES = sorted(Path(__file__).parent.glob("*.txt"))
_SCRIPTS = [
    pytest.param(script, id=f"{path.stem}: {script.title}")
    for path in _FILES
    for script in by_set_up(read(path))
    if not script.announces
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One proxy for all scripts."""
    directory = tmp_path_factory.mktemp("stage")
    certificates = directory / "tls"
    certificates.mkdir()
    # What a script does not mention is seen at its end, so nothing may come later: lines of the log neither.
    with Proxy(directory, options=("-n", "200", "--log-lines", "at-once")) as proxy:
        stage = Stage(proxy, directory, certificates)
        try:
            yield stage
        finally:
            stage.close()


def _make_certificate(directory: Path) -> None:
    if (directory / "default.pem").exists():
        return
    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = [
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(directory / "default.key"),
        "-out",
        str(directory / "default.pem"),
    ]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=patient(30))


@pytest.mark.parametrize("script", _SCRIPTS)
def test_transcript(stage: Stage, script: Script) -> None:
    """The session goes as the script says."""
    if script.tls:
        _make_certificate(Path(stage.words["TLS"]))
    play(stage, script, script.paces[0])


def _script(directory: Path, *lines: str) -> Script:
    path = directory / "a.txt"
    path.write_text("\n".join(("= A script", *lines)))
    return read(path)[0]


def test_a_difference_is_shown_as_a_diff(stage: Stage, tmp_path: Path) -> None:
    """A reply that is not the script's is shown in the script's own notation, at its place."""
    script = _script(tmp_path, "S: +OK ready", "C: QUIT", "S: +OK farewell", "S! closed", "E: quit")

    with pytest.raises(Differs, match=r"(?m)^ C: QUIT\n-S: \+OK farewell\n-S! closed\n\+S: \+OK bye\n E: quit$"):
        play(stage, script, "whole")


def test_what_is_not_in_the_script_is_a_difference(stage: Stage, tmp_path: Path) -> None:
    """A reply that the script does not mention is one, even at the very end."""
    script = _script(tmp_path, "S: +OK ready", "C: QUIT", "E: quit")

    with pytest.raises(Differs, match=r"(?m)^\+S: \+OK bye$"):
        play(stage, script, "whole")


def test_an_unexpected_connection_to_the_backend_is_a_difference(stage: Stage, tmp_path: Path) -> None:
    """A script without a backend says that none is connected to."""
    one = ("S: +OK ready", "C: QUIT", "S: +OK bye", "S! closed", "E: quit")
    another = ("C! connect", "S: +OK ready", "C: USER ann", "S: +OK send PASS", "C: PASS secret")

    with pytest.raises(Differs, match="a connection to the backend"):
        play(stage, _script(tmp_path, *one, *another), "whole")


def test_another_ending_is_a_difference(stage: Stage, tmp_path: Path) -> None:
    """The log's ending must be the script's."""
    script = _script(tmp_path, "S: +OK ready", "C: QUIT", "S: +OK bye", "S! closed", "E: client_closed")

    with pytest.raises(Differs, match="has no ending='client_closed'"):
        play(stage, script, "whole")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("C: QUIT", "E: quit"), "never answered"),
        (("S: +OK ready",), "never ends"),
        (("S: +OK ready", "C! explode", "E: quit"), "'explode' is no action"),
        (("X: what", "S: +OK", "E: quit"), "not a line of a script"),
    ],
)
def test_a_bad_script_is_an_error(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    """A script that could not fail, or that has an unknown line, is refused."""
    with pytest.raises(BadScript, match=message):
        _script(tmp_path, *lines)


def test_octets_of_a_script() -> None:
    r"""Escapes, repetitions and UTF-8 become octets, and octets are shown as they would be written."""
    assert octets(r"a\r\n\0\xff\\{x*3}{b} é") == b"a\r\n\x00\xff\\xxx{b} \xc3\xa9"
    assert shown(b"a\r\0\xff\\") == r"a\r\0\xff\\"
