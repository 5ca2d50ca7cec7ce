"""`pstatus` against tables that are really written: by this process, by one that hammers, and as copied files."""

import json
import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metrics.duration import age
from popular import programs
from supervisor.table.layout import MAGIC
from supervisor.table.segment import Segment
from tests.metrics.sample import PASSING, ROWS, WAITING
from tests.patience import patient
from tests.system.site import program

Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: object) -> tuple[int, list[str], str]:
        code = programs.pstatus([str(word) for word in argv])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return call


def line_with(lines: list[str], word: str) -> list[str]:
    """The words of the one line that begins with `word`."""
    found = [line.split() for line in lines if line.split()[:1] == [word]]
    assert len(found) == 1, (word, lines)
    return found[0]


def test_shows_gauges_workers_counters_and_sessions(run: Run, rundir: Path) -> None:
    """Without options everything is there: once, and with the numbers that were written."""
    code, lines, err = run("--rundir", rundir)
    assert (code, err) == (0, "")
    assert lines[0].startswith(f"PROXY, pid {os.getpid()}, started ")
    assert line_with(lines, "maxsession") == ["maxsession", "150"]
    assert line_with(lines, "session_state") == ["session_state", "WARN"]
    assert line_with(lines, "started") == ["started", "20"], "summed over the workers"
    assert line_with(lines, "ended") == ["ended", "14"]
    assert line_with(lines, "lost") == ["lost", "14"]
    assert not [line for line in lines if line.split()[:1] == ["quit"]], "a label that counted nothing is left out"
    slots = [line.split()[:3] for line in lines if line.split()[1:2] in (["4000"], ["4001"])]
    assert line_with(lines, "slot")[:4] == ["slot", "pid", "birth", "heartbeat"]
    assert slots[:2] == [["0", "4000", "1"], ["1", "4001", "2"]]
    assert line_with(lines, "7")[2:] == ["0s", "0s", "p.2.2", "müller", "41", "waiting", "for", "a", "password"]
    assert lines[-1] == "3 sessions, 197 free rows"


def test_free_rows_are_one_line(run: Run, rundir: Path) -> None:
    """A table of thousands of rows is not thousands of lines."""
    _code, lines, _err = run("--rundir", rundir)
    assert len(lines) < 40
    assert not [line for line in lines if "gone" in line], "a row that was freed is not shown"


def test_active_shows_living_rows_only(run: Run, rundir: Path) -> None:
    """-a is the head and one line for each session."""
    code, lines, _err = run("--rundir", rundir, "-a")
    assert code == 0
    assert [line.split()[0] for line in lines] == ["row", "0", "7", "150"]
    assert lines[1].split()[2:4] == ["3m20s", "5s"], "times are ages"


def test_columns_are_aligned(run: Run, rundir: Path) -> None:
    """Numbers end below the end of their head; texts begin below its beginning."""
    _code, lines, _err = run("--rundir", rundir, "-a")
    head = lines[0]
    user, sent, state = head.index("user"), head.index("sent") + len("sent"), head.index("state")
    assert [line[user : user + 6].strip() for line in lines[1:]] == ["joe", "müller", "-"]
    assert [line[:sent].split()[-1] for line in lines[1:]] == ["123456", "41", "0"]
    assert [line[state:] for line in lines[1:]] == ["passing mail on"] + 2 * ["waiting for a password"]


@pytest.mark.parametrize(
    ("text", "rows", "free"),
    [
        ("0-99", ["0", "7"], 98),
        ("7", ["7"], 0),
        ("8-", ["150"], 191),
        ("0-100000", ["0", "7", "150"], 197),
        ("300-", [], 0),
    ],
)
def test_range_of_rows(run: Run, rundir: Path, text: str, rows: list[str], free: int) -> None:
    """-r takes a range, one row, or all from a row on; both ends are included."""
    _code, lines, _err = run("--rundir", rundir, "-a", "-r", text)
    assert [line.split()[0] for line in lines[1:]] == rows
    _code, lines, _err = run("--rundir", rundir, "-r", text)
    assert f", {free} free rows in rows " in lines[-1]


@pytest.mark.parametrize(
    "argv",
    [
        ("-r", "5-2"),
        ("-r", "x"),
        ("-r", "-5"),
        ("-r", ""),
        ("-l", "0"),
        ("-l", "soon"),
        ("-p", "psmtpd"),
        ("-f", "x", "-p", "pproxy"),
        ("extra",),
    ],
)
def test_bad_command_line(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant ends with code 2 and a message; -f and -p exclude each other."""
    with pytest.raises(SystemExit) as stopped:
        programs.pstatus(argv)
    assert stopped.value.code == 2
    assert "pstatus: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "rows"),
    [
        (("--sort", "user"), ["150", "0", "7"]),
        (("--sort", "sent", "--reverse"), ["0", "7", "150"]),
        (("--sort", "started"), ["0", "7", "150"]),
        (("--filter", "JOE"), ["0"]),
        (("--filter", "state=waiting"), ["7", "150"]),
        (("--filter", "state=waiting", "--filter", "user=Ü"), ["7"]),
        (("--filter", "sent=41"), ["7"]),
        (("--filter", "41"), []),
        (("--filter", "waiting", "-r", "0-9"), ["7"]),
    ],
)
def test_sorted_and_filtered(run: Run, rundir: Path, argv: tuple[str, ...], rows: list[str]) -> None:
    """--sort, --reverse and --filter choose rows and their order, alike as text and as JSON.

    A filter without a column looks at texts only.
    """
    _code, lines, _err = run("--rundir", rundir, "-a", *argv)
    assert [line.split()[0] for line in lines[1:]] == rows
    _code, lines, _err = run("--rundir", rundir, "--json", *argv)
    assert [str(row["row"]) for row in json.loads(lines[0])["sessions"]] == rows


def test_a_filtered_listing_says_so(run: Run, rundir: Path) -> None:
    """The last line tells how many sessions the filter hides; they are not counted as free rows."""
    _code, lines, _err = run("--rundir", rundir, "--filter", "joe")
    assert lines[-1] == "1 of 3 sessions, 197 free rows"


@pytest.mark.parametrize("argv", [("--sort", "colour"), ("--filter", "colour=red")])
def test_no_such_column(run: Run, rundir: Path, argv: tuple[str, ...]) -> None:
    """A column that the table does not have: exit 2, and the columns that there are."""
    code, lines, err = run("--rundir", rundir, *argv)
    assert (code, lines) == (2, [])
    assert err == 'pstatus: there is no column "colour"; there are: row pid started since sid user sent state\n'


def test_json_is_one_document(run: Run, rundir: Path) -> None:
    """--json has the same facts, unrounded, as one document on one line."""
    code, lines, _err = run("--rundir", rundir, "--json", "-r", "0-10")
    (line,) = lines
    told = json.loads(line)
    assert code == 0
    assert told["gauges"] == {"maxsession": 150, "session_state": 1, "workers": 2, "load_hundredths": 142}
    assert told["counters"] == {"started": 20, "ended": {"quit": 0, "lost": 14}, "octets": 0}
    assert [worker["pid"] for worker in told["workers"]] == [4000, 4001]
    assert [(row["row"], row["user"], row["state"]) for row in told["sessions"]] == [
        (0, "joe", "passing mail on"),
        (7, "müller", "waiting for a password"),
    ]
    assert told["rows"] == ROWS


def test_a_copy_stays_as_it_was(run: Run, rundir: Path, living: Segment, tmp_path: Path) -> None:
    """A copied file shows the moment of the copy, whatever happens to the table afterwards."""
    copy = tmp_path / "copy"
    shutil.copyfile(rundir / "pproxy.state", copy)
    living.free_row(0, 4000)
    now = time.time() + 3600
    os.utime(copy, (now, now))
    _code, lines, _err = run("-f", copy, "-a")
    assert [line.split()[0] for line in lines[1:]] == ["0", "7", "150"]
    assert lines[2].split()[2] in ("59m59s", "1h00m"), "ages are counted from the copy's time"


def test_pserv_is_looked_for_after_pproxy(run: Run, rundir: Path) -> None:
    """Without -f and -p: pproxy.state, then pserv.state; -p wants the one that it names."""
    (rundir / "pproxy.state").rename(rundir / "pserv.state")
    assert run("--rundir", rundir)[0] == 0
    assert run("--rundir", rundir, "-p", "pserv")[0] == 0
    code, lines, err = run("--rundir", rundir, "-p", "pproxy")
    assert (code, lines) == (1, [])
    assert err.startswith(f"pstatus: no such file: {rundir}/pproxy.state (is the program running? --rundir names ")


def test_nothing_is_running(run: Run, tmp_path: Path) -> None:
    """No state file at all: exit 1, and both names that were tried."""
    code, lines, err = run("--rundir", tmp_path)
    assert (code, lines) == (1, [])
    assert f"{tmp_path}/pproxy.state or {tmp_path}/pserv.state" in err


SID = b'"name":"sid","form":"%s"'
"""How the header describes that column."""


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda _data: b"", "too short"),
        (lambda data: data[:40], "too short"),
        (lambda data: data[: len(data) // 2], "cut short"),
        (lambda data: b"#!/bin/sh\n" + data, "not a POPular state file"),
        (lambda data: data[:16] + b"\1\0\0\0" + data[20:], "version 1; this program reads version 3"),
        (lambda data: data.replace(b'"columns"', b'"c' + b"\xff" * 5 + b's"'), "makes no sense"),
        (lambda data: data.replace(b'"columns"', b'"colonel"'), "makes no sense"),
        (lambda data: data.replace(SID % b"32s", SID % b"zzz"), "makes no sense"),
        (lambda data: data.replace(SID % b"32s", SID % b"33s").replace(b'"16s"', b'"99s"'), "do not agree"),
    ],
)
def test_wrong_files(run: Run, rundir: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    """Whatever is no state file, or a damaged one: exit 1, one line that says which file and why, no traceback."""
    data = (rundir / "pproxy.state").read_bytes()
    assert data.startswith(MAGIC)
    bad = tmp_path / "bad"
    bad.write_bytes(spoil(data))
    code, lines, err = run("-f", bad)
    assert (code, lines) == (1, [])
    assert err.startswith(f"pstatus: {bad}: ")
    assert words in err
    assert err.count("\n") == 1


def test_a_directory_is_no_state_file(run: Run, tmp_path: Path) -> None:
    """A path that is there but no file: exit 1."""
    code, _lines, err = run("-f", tmp_path)
    assert code == 1
    assert str(tmp_path) in err


def test_control_characters_do_not_reach_the_terminal(run: Run, rundir: Path, living: Segment) -> None:
    """A name that would steer the terminal is shown without its power, and the row stays a line."""
    living.rows.write(
        3, state=WAITING, pid=4000, started=0.0, since=0.0, sid=b"p.4.4", user=b"\x1b[2Jx\ny\xe2\x80\xae", sent=0
    )
    _code, lines, _err = run("--rundir", rundir, "-a", "-r", "3")
    assert len(lines) == 2
    assert "?[2Jx?y?" in lines[1]
    assert "\x1b" not in lines[1]


def _hammer(made: Segment, ready: Any) -> None:
    ready.set()
    while True:
        for number in range(ROWS):
            word = b"%015d" % number
            made.rows.write(
                number, state=PASSING, pid=number + 1, started=1.0, since=2.0, sid=b"s" + word, user=word, sent=number
            )


@pytest.mark.processes
def test_a_table_that_is_being_written(run: Run, rundir: Path, living: Segment) -> None:
    """Every row that is shown is whole while another process rewrites all of them as fast as it can."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    writer = fork.Process(target=_hammer, args=(living, ready), daemon=True)
    writer.start()
    try:
        assert ready.wait(patient(10))
        time.sleep(0.05)
        for _ in range(20):
            _code, lines, _err = run("--rundir", rundir, "--json")
            rows = json.loads(lines[0])["sessions"]
            assert len(rows) == ROWS
            for row in rows:
                word = f"{row['row']:015d}"
                assert (row["pid"], row["sid"], row["user"]) == (row["row"] + 1, f"s{word}", word)
    finally:
        writer.kill()
        writer.join(patient(10))
        writer.close()


@pytest.mark.processes
def test_a_disk_that_is_full(rundir: Path) -> None:
    """What cannot be written is told in one line, and by the exit code."""
    with Path("/dev/full").open("w") as full:
        command = [program("pstatus"), "--rundir", str(rundir)]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, timeout=patient(20))
    assert (done.returncode, done.stderr) == (1, b"pstatus: it cannot be shown: No space left on device\n")


@pytest.mark.processes
def test_loop_repeats_and_survives_a_restart(rundir: Path) -> None:
    """-l shows again and again; a program that is away for a moment costs a message, not the loop."""
    command = [program("pstatus"), "--rundir", str(rundir), "--json", "-l", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert [json.loads(process.stdout.readline())["rows"] for _ in range(3)] == [ROWS] * 3
            (rundir / "pproxy.state").rename(rundir / "away")
            assert "no such file" in process.stderr.readline()
            (rundir / "away").rename(rundir / "pproxy.state")
            assert json.loads(process.stdout.readline())["rows"] == ROWS
        finally:
            process.send_signal(2)
            process.communicate(timeout=patient(10))
    assert process.returncode == 0


@pytest.mark.processes
def test_a_reader_that_goes_away_is_no_error(rundir: Path) -> None:
    """`pstatus -l | head -1` ends without a traceback."""
    command = [program("pstatus"), "--rundir", str(rundir), "--json", "-l", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(patient(10)) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (7380, "2h03m"), (4 * 86400 + 7200, "4d02h")],
)
def test_ages(seconds: float, text: str) -> None:
    """Intervals are told in their two largest units."""
    assert age(seconds) == text
