"""What modules have in common when they are opened: their words, their libraries, and their secrets.

A secret is never a word of a command, because commands are shown, logged and saved. It lies in a file (`passwordfile
FILE`), which is looked at as a file of users is; and a URL that holds a password is refused.
"""

import importlib
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from popular.pdm import linefile
from popular.pdm.contract import PASSWORD, ModuleFailed, Secret

PASSWORDFILE = "passwordfile"

_SECRET_PARAMETERS = (
    *("password", "passwd", "pwd", "pass", "sslpassword", "secret", "client_secret"),
    *("token", "access_token", "apikey", "api_key", "api-key"),
)
_LONGEST_SECRET = 4096


def needs(library: str, *, extra: str) -> ModuleType:
    """A library that is installed with an extra of ours only. Raises ModuleFailed, which names the extra.

    To be called in `open_module`, so that `pdm add` is refused and not the first login.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        missing = error.name or library
        raise ModuleFailed(
            f"the library {missing} is not installed; it comes with the extra {extra}: where POPular's sources are, "
            f"{sys.prefix}/bin/pip install '.[{extra}]'"
        ) from None


def pairs(module: str, words: Sequence[str], allowed: Collection[str]) -> Mapping[str, str]:
    """`NAME VALUE NAME VALUE …` after a module's first words, each name once. Raises ModuleFailed for this module."""
    found: dict[str, str] = {}
    for at in range(0, len(words), 2):
        name = words[at]
        if name not in allowed:
            raise ModuleFailed(f"{module}: '{name}' is unknown; allowed: {', '.join(sorted(allowed))}")
        if name in found:
            raise ModuleFailed(f"{module}: '{name}' is given twice")
        if at + 1 == len(words):
            raise ModuleFailed(f"{module}: '{name}' has no value")
        found[name] = words[at + 1]
    return found


def number(module: str, words: Mapping[str, str], name: str, *, usual: int, most: int) -> int:
    """The value of such a word, from 1 up; `usual` if it is not there. Raises ModuleFailed for this module."""
    text = words.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= most):
        raise ModuleFailed(f"{module}: {name} '{text}': 1 to {most} are allowed")
    return int(text)


def kinds(module: str, words: Mapping[str, str], name: str, *, allowed: frozenset[str]) -> frozenset[str]:
    """The value of such a word: kinds of credential, with commas; PASSWORD if it is not there. Raises ModuleFailed."""
    said = frozenset(words.get(name, PASSWORD).split(","))
    if not said <= allowed:
        raise ModuleFailed(f"{module}: {name} '{words[name]}': some of {','.join(sorted(allowed))} are allowed")
    return said


def is_at_host(parts: SplitResult) -> bool:
    """Whether a URL names a host, and if a port, then one from 1 to 65535."""
    try:
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


class SecretFile(NamedTuple):
    """A secret, and the file that it is from, as `AboutModule.files` has it: the module is reloaded when it changes."""

    secret: Secret
    files: Mapping[str, os.stat_result]


def secret_from(path: str) -> SecretFile:
    """The first line of a file, as `passwordfile FILE` names it. Raises ModuleFailed, which quotes nothing of it."""
    path = os.path.abspath(path)
    octets, status = linefile.read(path)
    line = octets.partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise ModuleFailed(f"{path}: its first line is empty; the secret is wanted there")
    if len(line) > _LONGEST_SECRET or b"\0" in line:
        raise ModuleFailed(f"{path}: its first line is no secret: {_LONGEST_SECRET} octets without NUL are allowed")
    return SecretFile(Secret(line), {path: status})


def text_of(module: str, secret: Secret) -> str:
    """A secret for a library that wants text. Raises ModuleFailed."""
    try:
        return secret.reveal().decode()
    except UnicodeDecodeError:
        raise ModuleFailed(f"{module}: the secret of {PASSWORDFILE} is not UTF-8") from None


def refuse_password_in(module: str, url: str) -> None:
    """Raises ModuleFailed if a URL holds a password: in front of its host, or among the parameters after it.

    The text says how the URL looks without it, and does not repeat it.
    """
    try:
        parts = urlsplit(url)
        held = parts.password is not None or any(
            name.strip("?").lower() in _SECRET_PARAMETERS
            for name, _value in parse_qsl(parts.query, keep_blank_values=True)
        )
    except ValueError:
        raise ModuleFailed(f"{module}: this is no URL") from None
    if held:
        raise ModuleFailed(
            f"{module}: a URL with a password in it is shown by `show config`, and to all who see the command: "
            f"leave it out, write it into a file, and say `{PASSWORDFILE} FILE`"
        )
