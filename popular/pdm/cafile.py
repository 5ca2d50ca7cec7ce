"""The authorities that a module believes in TLS: those of its `cafile FILE`, or the system's."""

import os
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from popular.pdm import linefile
from popular.pdm.contract import ModuleFailed

CAFILE = "cafile"


class Trusted(NamedTuple):
    """By whom servers have to be vouched for, and the file that it is from, as `AboutModule.files` has it: the module
    is reloaded when it changes.
    """

    context: ssl.SSLContext | None
    """None: the system's."""
    files: Mapping[str, os.stat_result]


def trusted(module: str, words: Mapping[str, str]) -> Trusted:
    """By the word `cafile` of a module. Raises ModuleFailed for this module."""
    if CAFILE not in words:
        return Trusted(None, {})
    path = os.path.abspath(words[CAFILE])
    _content, status = linefile.read(path)  # before it is used, so that a later change is seen
    try:
        return Trusted(ssl.create_default_context(cafile=path), {path: status})
    except (OSError, ssl.SSLError):
        raise ModuleFailed(f"{module}: {path} has no certificates that can be read") from None
