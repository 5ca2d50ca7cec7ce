"""UTF8 and LANG (RFC 6856): what is offered where several servers may be meant, and what LANG answers."""

import pytest

from popular.protocol.international import NOTHING, TAGS, International, common, international, is_language, lang

TWO = {"de": "de Deutsch", "en-gb": "en-GB British"}


@pytest.mark.parametrize(
    ("capabilities", "languages", "found"),
    [
        (["TOP"], ["de Deutsch"], NOTHING),
        (["UTF8"], [], International(True)),
        (["utf8 user"], [], International(True, True)),
        (["LANG"], [], NOTHING),
        (["LANG"], ["de Deutsch", "en-GB British"], International(languages=TWO)),
        (["UTF8X", "X UTF8"], [], NOTHING),
    ],
)
def test_what_a_server_offers(capabilities: list[str], languages: list[str], found: International) -> None:
    """By its own words; LANG only if it lists a language that may be chosen."""
    assert international(capabilities, languages) == found


def test_all_offer_what_each_of_them_offers() -> None:
    """Nobody knows yet who is meant: one server that lacks it takes it from all."""
    whole = International(True, True, TWO)
    assert common([whole, whole]) == whole
    assert common([whole, International(True, False, {"de": "de die deutsche"})]) == International(
        True, False, {"de": "de Deutsch"}
    )
    assert common([whole, NOTHING]) == common([NOTHING, whole]) == common([]) == NOTHING


@pytest.mark.parametrize(
    ("offer", "wanted", "lines"),
    [
        (International(True, True, TWO), TAGS, ("UTF8 USER", "LANG")),
        (International(True, False, TWO), TAGS, ("UTF8", "LANG")),
        (International(True, True, TWO), frozenset({"LANG"}), ("LANG",)),
        (International(True, True, TWO), frozenset(), ()),
        (NOTHING, TAGS, ()),
    ],
)
def test_its_capabilities(offer: International, wanted: frozenset[str], lines: tuple[str, ...]) -> None:
    """What is offered, and wanted."""
    assert offer.capabilities(wanted) == lines


@pytest.mark.parametrize(
    ("words", "reply", "chosen"),
    [
        ([], b"+OK language listing follows\r\nde Deutsch\r\nen-GB British\r\n.\r\n", ""),
        ([b"DE"], b"+OK de Deutsch\r\n", "de"),
        ([b"de-CH-1901"], b"+OK de Deutsch\r\n", "de"),
        ([b"en-gb"], b"+OK en-GB British\r\n", "en-GB"),
        ([b"en"], b"-ERR this language is not offered, but de, en-gb\r\n", ""),
        ([b"*"], b"+OK i-default the language that the server has chosen\r\n", "*"),
        ([b"\xff"], b"-ERR this language is not offered, but de, en-gb\r\n", ""),
        ([b"-"], b"-ERR this language is not offered, but de, en-gb\r\n", ""),
    ],
)
def test_lang(words: list[bytes], reply: bytes, chosen: str) -> None:
    """The listing; a language by its tag, or by a longer one (RFC 4647 section 3.4); the server's own choice."""
    assert lang(TWO, words) == (reply, chosen)


@pytest.mark.parametrize("line", ["de", "de Deutsch", "sr-Latn-RS latinica", "i-default x"])
def test_a_language(line: str) -> None:
    """A tag, and what it is called."""
    assert is_language(line)


@pytest.mark.parametrize("line", ["", "de\x7f", "de\x1b[31m Deutsch", "d_e x", "toolongatag", "de " + "x" * 61, "*"])
def test_no_language(line: str) -> None:
    """Nothing of this is passed on to a client."""
    assert not is_language(line)
