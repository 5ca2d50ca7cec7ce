"""rc files: octets in, commands with their places out."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.control.files.rcdisk import read_any, read_regular
from supervisor.control.files.rcfile import (
    LONGEST_COMMAND,
    MOST_TOLD,
    FileContent,
    FileFault,
    Loaded,
    Place,
    UnreadableFile,
    fault_in_draft,
    load,
    parse,
    told,
)
from supervisor.control.words import CommandRefused, phrase, split

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
SEEN = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
PIECES = st.sampled_from(
    ["include ", "a.rc", "b.rc", "set", " ", "\t", "#", '"', "\\", "\n", "\r\n", "\f", "\u2028", BOM, "\0", "x" * 9000]
)
OCTETS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(lambda some: "".join(some).encode()))


def loaded(files: Mapping[str, bytes], name: str = "a.rc") -> Loaded:
    """The file of this name, among others that there are."""

    def read(wanted: str) -> FileContent:
        if wanted not in files:
            raise UnreadableFile(f"{wanted}: No such file or directory")
        return FileContent(files[wanted], wanted, wanted)

    return load(name, read)


def texts(octets: bytes) -> list[str]:
    return [command.text for command in parse(octets, "a.rc")]


@given(st.lists(st.lists(SEEN, min_size=1, max_size=4), max_size=5))
def test_what_is_quoted_is_read_again(lines: list[list[str]]) -> None:
    """Any words, quoted, come out as they were, each line with its number; also after a comment and with CRLF."""
    text = "".join(f"{phrase(words)} # \u2028\f comment\r\n" for words in lines)

    commands = parse(f"{BOM}{text}".encode(), "a.rc")

    assert [command.fault for command in commands] == [None] * len(lines)
    assert [list(map(str, split(command.text))) for command in commands] == lines
    assert [command.place.line for command in commands] == list(range(1, len(lines) + 1))


@given(OCTETS, OCTETS)
def test_no_content_raises_anything_else(first: bytes, second: bytes) -> None:
    """Whatever two files hold that may include each other: commands and faults with places, or UnreadableFile."""
    try:
        found = loaded({"a.rc": first, "b.rc": second})
    except UnreadableFile:
        return

    for command in found.commands:
        assert command.place.file in found.files
        assert command.place.line >= 1
        assert command.place.column >= 1
        if command.fault is None:
            assert split(command.text)
            assert "\n" not in command.text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=f"\n\r{BOM}"), max_size=40))
def test_a_line_is_refused_where_its_words_are(line: str) -> None:
    """A line without LF is a command exactly if `split` finds words in it."""
    words, why = [], None
    try:
        words = split(line)
    except CommandRefused as refused:
        why = FileFault(Place("a.rc", 1, refused.column or 1), refused.text)
    commands = parse(line.encode(), "a.rc")
    assert [command.fault for command in commands] == ([why] if why or words else [])
    assert why or [split(command.text) for command in commands] == ([words] if words else [])


def test_lines_end_at_lf() -> None:
    """Not at U+2028, form feed, vertical tab, NEL or CR: in a comment they end nothing."""
    for separator in ("\u2028", "\u2029", "\f", "\v", "\x85", "\r", "\x1c"):
        assert texts(f"# a{separator}set workers 7\n".encode()) == []
        assert texts(f"set a b # c{separator}set workers 7\n".encode()) == ["set a b"]
    assert texts(b"a\r\nb\r\n\r\nc") == ["a", "b", "c"]


def test_comments() -> None:
    """A word that begins with an unquoted # begins one; a # within a word, or in quotes, does not."""
    assert texts(b'  #x\n  set a b#c\npdm add all any b #note\nset a "#b" #"\n') == [
        "  set a b#c",
        "pdm add all any b",
        'set a "#b"',
    ]


@pytest.mark.parametrize(
    ("content", "column", "text"),
    [
        (f"a {BOM}b", 3, "the invisible character U+FEFF (ZERO WIDTH NO-BREAK SPACE) is not allowed outside of quotes"),
        (f"{BOM}{BOM}backend", 1, "the invisible character U+FEFF"),
        ("a\N{NO-BREAK SPACE}b", 2, "the invisible character U+00A0 (NO-BREAK SPACE)"),
        ("a \N{ZERO WIDTH SPACE}", 3, "the invisible character U+200B (ZERO WIDTH SPACE)"),
        ("a\fb", 2, "the control character U+000C (FORM FEED) is not allowed"),
        ("a\rb", 2, "the control character U+000D (CARRIAGE RETURN) is not allowed"),
        ('a "b\u2028"', 5, "the control character U+2028 (LINE SEPARATOR) is not allowed"),
        ('a "b', 3, "a quote is not closed"),
        ("a " + "b" * LONGEST_COMMAND, 1, "the line is too long"),
        ("include", 1, "usage: include FILE"),
        ("include b c", 11, "usage: include FILE"),
        ("  include b.rc", 11, "b.rc: No such file or directory"),
        ("include a.rc", 9, "a.rc includes itself"),
    ],
)
def test_faults_are_named(content: str, column: int, text: str) -> None:
    """Each with its place, and the lines after it are read all the same."""
    found = loaded({"a.rc": f"\n{content}\nset x y".encode()})

    (fault,) = found.faults
    assert (fault.place, fault.text[: len(text)]) == (Place("a.rc", 2, column), text)
    assert found.commands[-1].text == "set x y"


def test_octets_that_are_no_text() -> None:
    """The file is refused whole, with the place of the first octet."""
    with pytest.raises(UnreadableFile, match=r"a\.rc:2:3: octet 0xff is not UTF-8"):
        parse(b"ok\nab\xff\xfe\n", "a.rc")


def test_files_that_are_included() -> None:
    """Their commands stand where `include` stood, with their own places; names are relative to the file that says it;
    twice is fine, in a circle is not.
    """
    files = {
        "d/a.rc": b"one\ninclude sub/b.rc # these\ninclude sub/c.rc\nlast\n",
        "d/sub/b.rc": b"two\ninclude c.rc\n",
        "d/sub/c.rc": b"three\n",
    }
    found = loaded(files, "d/a.rc")
    assert [command.text for command in found.commands] == ["one", "two", "three", "three", "last"]
    assert str(found.commands[2].place) == "d/sub/c.rc:1:1"
    assert found.files == ("d/a.rc", "d/sub/b.rc", "d/sub/c.rc")

    (fault,) = loaded(files | {"d/sub/c.rc": b"\n  include ../sub/../sub/b.rc"}, "d/a.rc").faults[:1]
    assert str(fault) == "d/sub/c.rc:2:11: d/sub/../sub/../sub/b.rc: No such file or directory"


def test_a_circle_under_other_names(tmp_path: Path) -> None:
    """A file is known again though it is called by another name, here through a symbolic link."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "a.rc").write_text("include link/a.rc\n")

    (fault,) = load(str(tmp_path / "a.rc"), read_regular).faults

    assert fault.text.endswith("link/a.rc includes itself")


def test_many_files_come_to_an_end() -> None:
    """Files that include each other twice each are given up, not read for ever."""
    files = {f"{number}.rc": f"include {number + 1}.rc\n".encode() * 2 for number in range(30)} | {"30.rc": b"x\n"}

    assert any("too many files" in fault.text for fault in loaded(files, "0.rc").faults)


def test_files_one_in_the_other() -> None:
    """Twenty may lead to one; the one after that is refused where it is included, and the rest is read."""
    files = {f"{number}.rc": f"include {number + 1}.rc\nx\n".encode() for number in range(500)} | {"500.rc": b"x\n"}

    (fault,) = loaded(files, "0.rc").faults

    assert str(fault) == "20.rc:1:9: too many files, one in the other; allowed: 20"
    assert not loaded(files, "480.rc").faults


def test_a_fifo_may_be_said_but_not_included(tmp_path: Path) -> None:
    """`pcontrol check FIFO` reads it; one that a file names would be waited for, with nobody who sees why."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a.rc").write_text("\ninclude fifo\n")

    (fault,) = load(str(tmp_path / "a.rc"), read_any, read_regular).faults

    assert str(fault) == f"{tmp_path}/a.rc:2:9: {tmp_path}/fifo: not a regular file"


def test_what_is_no_file(tmp_path: Path) -> None:
    """A FIFO, which would be waited for, and a device are refused where a program must be able to start again."""
    os.mkfifo(tmp_path / "fifo")
    for name in (str(tmp_path / "fifo"), "/dev/null", str(tmp_path)):
        with pytest.raises(UnreadableFile, match="not a regular file"):
            read_regular(name)
    for read in (read_any, read_regular):
        with pytest.raises(UnreadableFile, match="No such file"):
            read(str(tmp_path / "none"))
        with pytest.raises(UnreadableFile, match="null"):
            read("a\0b")


def test_faults_are_counted_where_they_are_many() -> None:
    """So many are told, and how many more there are."""
    lines = told(FileFault(Place("a", number, 1), "no") for number in range(1, MOST_TOLD + 8))

    assert lines[0] == "a:1:1: no"
    assert (len(lines), lines[-1]) == (MOST_TOLD + 1, "and 7 more")


def test_answers_of_a_draft_have_places() -> None:
    """The column of what was sent becomes that of the line; without one it is the first word's."""
    (command,) = parse(b"  set grcae 5s", "a.rc")

    assert str(fault_in_draft(command, False, "column 17: no variable")) == "a.rc:1:7: no variable"
    assert str(fault_in_draft(command, False, "<value> is missing")) == "a.rc:1:3: <value> is missing"
    assert fault_in_draft(command, True, "drafted") is None
    assert fault_in_draft(command, False, "column 17: follows from another fault: no") is None
