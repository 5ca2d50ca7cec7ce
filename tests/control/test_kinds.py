"""Kinds: parsing, showing, describing, completing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.control.language.kinds import (
    EVERYWHERE,
    Bool,
    Choice,
    Dir,
    File,
    Host,
    Id,
    Iface,
    Int,
    Kind,
    OwnHost,
    String,
    Time,
    nearest,
)
from supervisor.control.language.lookups import Lookups, NeedsLookup, Unfit, run

DAY = 86400
IDS = st.text("abcXYZ019_-.", min_size=1, max_size=64)
PATHS = st.text("abc/. é", max_size=50).map(lambda text: f"/{text}x")
VALUES = st.one_of(
    st.tuples(st.just(Bool()), st.booleans()),
    st.tuples(st.just(Int(-5, 9999)), st.integers(-5, 9999)),
    st.tuples(st.just(Time(0, 400 * DAY)), st.integers(0, 400 * DAY)),
    st.tuples(st.just(Id()), IDS),
    st.tuples(st.just(Id(optional=True)), st.one_of(st.just(""), IDS)),
    st.tuples(st.just(String(4000)), st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=900)),
    st.tuples(st.just(File(dash=True)), st.one_of(st.just("-"), PATHS)),
    st.tuples(st.just(Choice("POP3", "POP3s")), st.sampled_from(["POP3", "POP3s"])),
    st.tuples(st.just(Host()), st.ip_addresses().map(str)),
    st.tuples(
        st.just(Iface()), st.one_of(st.just(EVERYWHERE), st.ip_addresses().map(lambda one: OwnHost(str(one), str(one))))
    ),
)


def parse(kind: Kind, text: str) -> object:
    """Parses with lookups found out on the spot."""
    lookups = Lookups()
    for _ in range(5):
        try:
            return kind.parse(text, lookups)
        except NeedsLookup as needed:
            lookups.store(needed.job, run(needed.job))
    raise AssertionError("a kind that never has enough lookups")


@given(VALUES)
def test_what_a_kind_shows_it_understands(sample: tuple[Kind, object]) -> None:
    """A value that is shown and parsed again is the same value."""
    kind, value = sample

    assert value == kind.parse(kind.format(value), Lookups())


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "ON", "Yes"])
def test_bool_on(word: str) -> None:
    """Every word of the manual for on means on."""
    assert parse(Bool(), word) is True


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "OFF"])
def test_bool_off(word: str) -> None:
    """Every word of the manual for off means off."""
    assert parse(Bool(), word) is False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5d3h10m4s", 443404),
        ("0", 0),
        ("0s", 0),
        ("90", 90),
        ("1h30m", 5400),
        ("30m1h", 5400),
        ("1d", DAY),
        ("24h", DAY),
    ],
)
def test_time_is_understood(text: str, seconds: int) -> None:
    """Times are numbers with units, in any order, or bare seconds."""
    assert seconds == parse(Time(0, 100 * DAY), text)


@pytest.mark.parametrize(
    "text", ["", "-5", "5-", "1d-2h", "h", "5x", "1h1h", "1.5h", "5 m", "٣s", "+5", "9" * 5000 + "s", "1hh"]
)
def test_time_is_refused(text: str) -> None:
    """Anything else is not a time: a hyphen, an unknown unit, a unit twice, digits of other scripts."""
    with pytest.raises(Unfit, match="not a time"):
        parse(Time(0, 100 * DAY), text)


def test_time_range_is_told() -> None:
    """A time out of range is refused, and the range is in the manual's notation."""
    kind = Time(600, DAY)

    assert kind.describe() == "Time (10m-1d)"
    with pytest.raises(Unfit, match="allowed: 10m to 1d"):
        parse(kind, "9m59s")
    with pytest.raises(Unfit, match="allowed: 10m to 1d"):
        parse(kind, "1d1s")
    assert parse(kind, "10m") == 600
    assert parse(kind, "1d") == DAY


@pytest.mark.parametrize("text", ["4", "1025", "", "x", "5.0", "0x10", "+9", "-9", "٩٩", "9" * 5000])
def test_int_out_of_range_is_refused(text: str) -> None:
    """A number out of range, or something that is no number, is refused with the range."""
    with pytest.raises(Unfit, match="allowed: a whole number from 5 to 1024"):
        parse(Int(5, 1024), text)


@pytest.mark.parametrize("text", ["", "a b", "a/b", "ä", "x" * 65, "a\n", "a:b"])
def test_ids_with_forbidden_letters_are_refused(text: str) -> None:
    """An Id has 1 to 64 letters, digits, underscores, hyphens and dots."""
    with pytest.raises(Unfit, match="not an Id"):
        parse(Id(), text)


def test_string_is_bounded() -> None:
    """A string is refused when it is too long in octets, has control characters, or is not ASCII where it must be."""
    assert parse(String(4), "éé") == "éé"
    with pytest.raises(Unfit, match="too long; allowed: 4 octets"):
        parse(String(4), "ééé")
    with pytest.raises(Unfit, match="control"):
        parse(String(), "a\rb")
    with pytest.raises(Unfit, match="ASCII"):
        parse(String(ascii=True), "é")


@pytest.mark.parametrize("text", ["", "x", "./x", "-", "/x\n", "/" + "x" * 5000, "/dir/"])
def test_file_must_be_an_absolute_path(text: str) -> None:
    """A file name is an absolute path; the dash only where it is allowed."""
    with pytest.raises(Unfit, match="absolute path"):
        parse(File(), text)


def test_dir_must_exist(tmp_path: object) -> None:
    """A directory is accepted if it is there; a file or nothing is refused with its name."""
    assert parse(Dir(), str(tmp_path)) == str(tmp_path)
    with pytest.raises(Unfit, match="No such file or directory"):
        parse(Dir(), f"{tmp_path}/nothing")
    with pytest.raises(Unfit, match="not a directory"):
        parse(Dir(), "/etc/passwd")
    with pytest.raises(Unfit, match="absolute path"):
        parse(Dir(), "tmp")


def test_choice_takes_any_case_and_keeps_its_own() -> None:
    """A choice is understood in any case, and a typo gets the nearest word and all words."""
    kind = Choice("POP3", "XPOP", "CXPOP")

    assert parse(kind, "cxpop") == "CXPOP"
    with pytest.raises(Unfit, match=r'did you mean "XPOP"\?; allowed: POP3, XPOP, CXPOP'):
        parse(kind, "xpp")


def test_host_is_resolved_once() -> None:
    """A literal address needs no job, a name becomes its first address, and nonsense is refused."""
    assert Host().parse("::1", Lookups()) == "::1"
    assert Host().parse("127.0.0.1", Lookups()) == "127.0.0.1"
    with pytest.raises(NeedsLookup):
        Host().parse("localhost", Lookups())
    assert parse(Host(), "localhost") in ("127.0.0.1", "::1")
    with pytest.raises(Unfit, match="not a host"):
        parse(Host(), "a b")
    with pytest.raises(Unfit, match="no-such-host"):
        parse(Host(), "no-such-host.invalid")


def test_completion() -> None:
    """Kinds that have few words list those that begin like what was typed."""
    assert Bool().complete("o") == ["off", "on"]
    assert Choice("POP3", "POP3s", "XPOP").complete("pop") == ["POP3", "POP3s"]
    assert Iface().complete("a") == ["ANY"]
    assert Int(0, 5).complete("") == []


def test_nearest_says_nothing_when_nothing_is_near() -> None:
    """A hint is only given when a word is near."""
    assert nearest("confg", ["conf", "show"]) == '; did you mean "conf"?'
    assert nearest("zzzz", ["conf", "show"]) == ""
