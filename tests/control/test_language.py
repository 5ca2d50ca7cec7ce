"""Words, quoting, result commands, the errors for people."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.control.language.context import CommandContext, ControlCommand
from supervisor.control.language.kinds import Choice, Id, Int
from supervisor.control.language.language import Language
from supervisor.control.language.lookups import Lookups
from supervisor.control.language.outcome import Outcome, Reply
from supervisor.control.language.shape import Shape
from supervisor.control.words import CommandRefused, of_no_command, phrase, quote, split, without_secret, without_slip

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)


def _handler(_context: CommandContext, arguments: Mapping[str, Any]) -> Outcome:
    return Reply(data=dict(arguments))


def _free(_context: CommandContext, _arguments: Mapping[str, Any]) -> list[str]:
    return ["plain", "two words"]


LANGUAGE = Language(
    [
        ControlCommand("vserv list", _handler, "Lists."),
        ControlCommand(
            "vserv conf <id> [<parameter> <value>]…", _handler, "C.", {"id": Id(), "parameter": _free, "value": _free}
        ),
        ControlCommand("show [<variable>]", _handler, "Shows.", {"variable": _free}),
        ControlCommand("show config", _handler, "Shows all."),
        ControlCommand("prng <file> [<bytes>]", _handler, "Seeds.", {"file": _free, "bytes": Int(1, 9)}),
        ControlCommand("shutdown <how>", _handler, "Ends.", {"how": Choice("parent", "all")}),
        ControlCommand("json <command>…", _handler, "Says.", {"command": _free}),
    ]
)


def read(line: str) -> tuple[str, dict[str, Any]]:
    """The pattern that a line is, and its arguments."""
    command, arguments = LANGUAGE.parse(split(line), Lookups())
    return command.pattern, arguments


@given(st.lists(TEXT, max_size=6))
def test_what_is_quoted_is_split_again(words: list[str]) -> None:
    """Any words without control characters survive quoting and splitting."""
    assert words == [str(word) for word in split(phrase(words))]


@given(st.text(max_size=60))
def test_splitting_refuses_or_gives_words(line: str) -> None:
    """Whatever comes in, splitting gives words that stand where they say, or CommandRefused."""
    try:
        words = split(line)
    except CommandRefused:
        return

    assert all(line[word.column - 1 :].startswith((str(word)[:1], '"')) for word in words)


def test_words_know_their_column() -> None:
    """Blanks and tabs separate, quotes hold together, and each word knows where it begins."""
    words = split('set\tx  "a \\"b\\" \\\\c" y')

    assert [(str(word), word.column) for word in words] == [("set", 1), ("x", 5), ('a "b" \\c', 8), ("y", 22)]


@pytest.mark.parametrize(
    ("line", "column", "text"),
    [
        ('a "b c', 3, "a quote is not closed"),
        ('a b"c"', 4, "a quote inside a word"),
        ('"a"b', 4, "a blank must follow"),
        ('"a\\n"', 3, "only"),
        ("a\x00b", 2, "control character"),
        ("a\x7fb", 2, "control character"),
        ("a\u2028b", 2, "control character"),
        ('"a\tb"', 3, "control character"),
    ],
)
def test_faulty_lines_name_the_column(line: str, column: int, text: str) -> None:
    """Unbalanced quotes, quotes in the wrong place and control characters are refused where they stand."""
    with pytest.raises(CommandRefused, match=text) as refused:
        split(line)

    assert column == refused.value.column
    assert str(refused.value).startswith(f"column {column}: ")


def test_quoting_is_done_only_where_it_must_be() -> None:
    """Plain words stay plain; blanks, quotes and the empty word are quoted."""
    assert quote("10.0.0.1") == "10.0.0.1"
    assert quote("a\\b") == "a\\b"
    assert quote("") == '""'
    assert quote('a "b" \\') == '"a \\"b\\" \\\\"'


def test_arguments_are_bound_by_the_pattern() -> None:
    """Optional slots are None, repeated ones lists, and kinds fit the words."""
    assert read("vserv conf v1 port 1 prot 2") == (
        "vserv conf <id> [<parameter> <value>]…",
        {"id": "v1", "parameter": ["port", "prot"], "value": ["1", "2"]},
    )
    assert read("vserv conf v1")[1] == {"id": "v1", "parameter": [], "value": []}
    assert read("show")[1] == {"variable": None}
    assert read("show x")[1] == {"variable": "x"}
    assert read("show config")[0] == "show config"
    assert read("prng /x 7")[1] == {"file": "/x", "bytes": 7}
    assert read("prng /x")[1] == {"file": "/x", "bytes": None}
    assert read("json vserv list")[1] == {"command": ["vserv", "list"]}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "nothing was said; allowed: vserv, show, prng, shutdown, json"),
        ("vsrv list", 'column 1: "vsrv" is unknown; did you mean "vserv"?; allowed: vserv, show'),
        ("VSERV list", 'column 1: "VSERV" is unknown; did you mean "vserv"?'),
        ("vserv", 'a word is missing after "vserv"; allowed: list, conf'),
        ("vserv cnf v1", 'column 7: "cnf" is unknown; did you mean "conf"?; allowed: list, conf'),
        ("vserv li", 'column 7: "li" is unknown'),
        ("vserv list x", 'column 12: "x" is too much; usage: vserv list'),
        ("vserv conf", "<id> is missing; usage: vserv conf <id> [<parameter> <value>]…"),
        ("vserv conf v1 port", "<value> is missing; usage: vserv conf"),
        ("vserv conf v/1", 'column 12: id: "v/1" is not an Id'),
        ("prng /x 10", "column 9: bytes: "),
        ("prng /x 1 2", 'column 11: "2" is too much'),
        ("shutdown now", 'column 10: how: "now" is unknown; allowed: parent, all'),
        ("shutdown", "<how> is missing; usage: shutdown parent|all"),
        ("json", "<command> is missing"),
    ],
)
def test_errors_say_what_is_wrong_and_what_is_allowed(line: str, text: str) -> None:
    """Each wrong command names the word, its column, and what may stand there."""
    with pytest.raises(CommandRefused) as refused:
        read(line)

    assert str(refused.value).startswith(text)


@pytest.mark.parametrize(
    "pattern", ["", "Show", "show <a", "show [a]", "show [<a>] <b>", "show <a> [<b>] x", "show [<a>] [<b>]"]
)
def test_a_pattern_that_is_none_is_found_at_once(pattern: str) -> None:
    """A row with a faulty pattern cannot be made."""
    with pytest.raises(AssertionError):
        Shape.of(pattern)


def test_slots_and_pattern_must_agree() -> None:
    """A slot without a kind, or a kind without a slot, cannot be made."""
    with pytest.raises(AssertionError):
        ControlCommand("a <b>", _handler, "x")
    with pytest.raises(AssertionError):
        ControlCommand("a", _handler, "x", {"b": Id()})
    with pytest.raises(AssertionError):
        Language([ControlCommand("a", _handler, "x"), ControlCommand("a [<b>]", _handler, "x", {"b": Id()})])


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("", ["vserv", "show", "prng", "shutdown", "json"]),
        ("s", ["show", "shutdown"]),
        ("show ", ["config", "plain", '"two words"']),
        ("show c", ["config"]),
        ("show x ", []),
        ("vserv ", ["list", "conf"]),
        ("vserv conf ", []),
        ("vserv conf v1 ", ["plain", '"two words"']),
        ("vserv conf v1 port 1 pl", ["plain"]),
        ("shutdown ", ["parent", "all"]),
        ("shutdown A", ["all"]),
        ('show "two', ['"two words"']),
        ("zz ", []),
        ('a"', []),
    ],
)
def test_completion(text: str, candidates: list[str]) -> None:
    """The words that may stand next are listed, as they must be written."""
    console: Any = None  # these completers do not look at it

    assert candidates == LANGUAGE.complete(text, console)


@given(st.text(max_size=40))
def test_completion_never_fails(text: str) -> None:
    """Completion answers something for whatever is typed."""
    console: Any = None

    assert isinstance(LANGUAGE.complete(text, console), list)


def test_refused_survives_a_pipe() -> None:
    """A CommandRefused that a worker sends to the master arrives with text and column."""
    import pickle

    copy = pickle.loads(pickle.dumps(CommandRefused("no", 7)))

    assert (copy.text, copy.column, str(copy)) == ("no", 7, "column 7: no")


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("pdm add s redis redis://:canary@127.0.0.1:1/0", "pdm add s redis redis://:****@127.0.0.1:1/0"),
        ('set cluster "redis://joe:can@ry@[::1]"', 'set cluster "redis://joe:****@[::1]"'),
        ("pdm add h http http://joe@h:80/u?as=%u:%u@%d", "pdm add h http http://joe@h:80/u?as=%u:%u@%d"),
        ("json secret canary", "secret ****"),
        ('sql "postgresql://u@h/d?sslpassword=canary&x=1" a', 'sql "postgresql://u@h/d?sslpassword=****&x=1" a'),
        ('sql "host=db password=canary"', 'sql "host=db password=****"'),
        ("sql \"host=db password='canary two'\"", 'sql "host=db password=****\'"'),
        ('sql "host=db password=\'ab\\"cd ef\' x"', 'sql "host=db password=****\' x"'),
        ("passwordfile=/etc/x", "passwordfile=/etc/x"),
        ("pdm add r redis redis://h takes password backend s1", "pdm add r redis redis://h takes password backend s1"),
        (f"show {'a-' * 4000}", f"show {'a-' * 4000}"),
    ],
)
def test_a_line_as_it_is_logged(said: str, logged: str) -> None:
    """A URL with a password in it is refused; its line is logged all the same."""
    assert without_secret(said) == logged


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("json secret canary", "secret ****"),
        ("backend conf b mastersecret canary", "backend conf b mastersecret ****"),
        ('set clusterpasswordfile "can ary"', 'set clusterpasswordfile ****"'),
        ("set clusterpasswordfile /etc/x", "set clusterpasswordfile /etc/x"),
        ("explain joe password canary", "explain joe password ****"),
        ("tls passphrase canary", "tls passphrase ****"),
        ("pdm add x ldap ldap://h bindpw canary base b", "pdm add x ldap ldap://h bindpw **** base b"),
        ("pdm add x oauth2 clientid p clientsecret canary", "pdm add x oauth2 clientid p clientsecret ****"),
        ("pdm add x passwd {PLAIN}canary", "pdm add x passwd {PLAIN}****"),
    ],
)
def test_a_refused_line_as_it_is_logged(said: str, logged: str) -> None:
    """Somebody has said the secret where its file is wanted, or under a word that is none."""
    assert without_slip(said) == logged


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("draft say example:joe:{PLAIN}canary:store1:", "draft say example…"),
        ("joe canary", "joe…"),
        ('"canary"', "…"),
        ("", "…"),
        ("draft say vserv nonsense", ""),
        ("json show x", ""),
        ("show-me canary", "show…"),
    ],
)
def test_of_what_is_no_command_nothing_is_logged(said: str, logged: str) -> None:
    """It may be a file of passwords, given where a configuration belongs."""
    assert of_no_command(said, LANGUAGE.next_words(())) == logged
