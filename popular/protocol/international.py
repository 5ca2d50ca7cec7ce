"""UTF8 and LANG (RFC 6856): what a server offers of them, and what LANG answers. Pure.

A proxy offers before the login what all servers offer on which a user's mail may lie: `common`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from popular.protocol.replies import err, ok

UTF8, LANG = "UTF8", "LANG"
TAGS = frozenset({UTF8, LANG})
"""Both are tags of capabilities, and the words of commands."""
_UTF8_USER = "UTF8 USER"

MOST_LANGUAGES = 32
_LANGUAGE = re.compile(r"(?P<tag>[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)( .{1,60})?")
"""A line of the answer to LANG: a tag (RFC 5646), and what it is called in that language."""
_DEFAULT_RANGE = "*"
_DEFAULT_LINE = "i-default the language that the server has chosen"
"""RFC 2277 section 4.5; which language a server's administrator prefers only that server can tell."""


class International(NamedTuple):
    """What there is of RFC 6856. `languages`: the lines of the answer to LANG, by tag in small letters."""

    utf8: bool = False
    utf8_user: bool = False
    """Names and passwords may be UTF-8."""
    languages: Mapping[str, str] = {}

    def capabilities(self, wanted: frozenset[str]) -> tuple[str, ...]:
        """The lines for CAPA, of those that are `wanted`, by tag."""
        said = (_UTF8_USER if self.utf8_user else UTF8) if self.utf8 and UTF8 in wanted else ""
        return tuple(line for line in (said, LANG if self.languages and LANG in wanted else "") if line)


NOTHING = International()


def international(capabilities: Sequence[str], languages: Sequence[str]) -> International:
    """What a server offers, by the lines of its answers to CAPA and LANG. Who lists no language offers none."""
    said = {line.upper() for line in capabilities}
    tags = {line.partition(" ")[0] for line in said}
    listed = {match["tag"].lower(): match[0] for match in map(_LANGUAGE.fullmatch, languages) if match}
    return International(UTF8 in tags, _UTF8_USER in said, listed if LANG in tags else {})


def is_language(text: str) -> bool:
    """Whether a line of another server's answer to LANG is kept."""
    return _LANGUAGE.fullmatch(text) is not None and text.isprintable()


def common(offers: Iterable[International]) -> International:
    """What all of them offer; nothing if there are none. A language is called as the first one calls it."""
    found: International | None = None
    for offer in offers:
        if found is None:
            found = offer
        else:
            shared = {tag: line for tag, line in found.languages.items() if tag in offer.languages}
            found = International(found.utf8 and offer.utf8, found.utf8_user and offer.utf8_user, shared)
        if not found.utf8 and not found.languages:
            break
    return found or NOTHING


def lang(languages: Mapping[str, str], words: Sequence[bytes]) -> tuple[bytes, str]:
    """The reply to LANG with these words after it, and which language was chosen: its tag, "*" for the server's own
    choice, "" for none.
    """
    if not words:
        listed = "".join(f"{line}\r\n" for line in languages.values())
        return ok("language listing follows") + listed.encode() + b".\r\n", ""
    wanted = words[0].decode("ascii", "replace").lower()
    if wanted == _DEFAULT_RANGE:
        return ok(_DEFAULT_LINE), _DEFAULT_RANGE
    while wanted and wanted not in languages:  # RFC 4647 section 3.4: de-CH finds de
        wanted = wanted.rpartition("-")[0]
    if not wanted:
        return err(f"this language is not offered, but {', '.join(languages)}"), ""
    line = languages[wanted]
    return ok(line), line.partition(" ")[0]
