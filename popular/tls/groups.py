"""The groups of the key exchange, and the order of cipher suites, for every context of this process and its children
that is made from then on.

Python's ssl module cannot choose the groups before 3.15, and OpenSSL's own list has finite-field groups: an exchange in
ffdhe8192 costs us 108 ms where X25519 costs less than one, and the client nothing (CVE-2002-20001), so that ten
ClientHellos a second would stop a worker. OpenSSL takes the list from its configuration, as it takes a system's
defaults.
"""

import _ssl
import ctypes
import os
import ssl
from collections.abc import Sequence
from functools import cache

PREFERRED = ("X25519MLKEM768", "X25519", "P-256", "P-384")
"""As far as OpenSSL knows them. The first one a quantum computer does not break (OpenSSL 3.5 and later)."""
_SECTION = "popular"
_CONFIGURATION = """
{section} = {section}_tls
[{section}_tls]
ssl_conf = {section}_modules
[{section}_modules]
system_default = {section}_groups
[{section}_groups]
Groups = {groups}
Ciphersuites = {suites}
"""
_SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""Cipher suites of TLS 1.3, RFC 8446's own in front: it makes a handshake a tenth cheaper."""
_SET_GROUPS = 92
"""SSL_CTRL_SET_GROUPS_LIST: SSL_CTX_set1_groups_list(3) is a macro."""


@cache
def _openssl() -> ctypes.CDLL | None:
    """This Python's OpenSSL. None if it cannot be reached: built into the interpreter, or its symbols are hidden."""
    try:
        library = ctypes.CDLL(_ssl.__file__)
        library.CONF_modules_load_file.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong]
        library.TLS_method.restype = library.SSL_CTX_new.restype = ctypes.c_void_p
        library.SSL_CTX_new.argtypes = library.SSL_CTX_free.argtypes = [ctypes.c_void_p]
        library.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    except (AttributeError, OSError):
        return None
    return library


def is_known(group: str) -> bool:
    """Whether OpenSSL can exchange keys in it."""
    library = _openssl()
    if library is None or not group.isascii() or not group.replace("-", "").isalnum():
        return False
    context = library.SSL_CTX_new(library.TLS_method())
    try:
        return bool(library.SSL_CTX_ctrl(context, _SET_GROUPS, 0, group.encode()) == 1)
    finally:
        library.SSL_CTX_free(context)
        library.ERR_clear_error()


def default() -> tuple[str, ...]:
    """What is used where nothing else is said."""
    return tuple(group for group in PREFERRED if is_known(group))


def restrict(groups: Sequence[str]) -> None:
    """Only these, the best first, in contexts that are made from now on. Raises ValueError."""
    library = _openssl()
    if library is None:
        raise ValueError("the OpenSSL of this Python cannot be told which groups to use")
    unknown = [group for group in groups if not is_known(group)]
    if unknown or not groups:
        names = ", ".join(f"'{group}'" for group in unknown)
        raise ValueError(f"{names} is not known to {ssl.OPENSSL_VERSION}; such as: {','.join(default())}")
    text = _CONFIGURATION.format(section=_SECTION, groups=":".join(groups), suites=_SUITES)
    with os.fdopen(os.memfd_create("groups"), "wb", buffering=0) as file:
        file.write(text.encode())
        path = f"/proc/self/fd/{file.fileno()}".encode()
        if library.CONF_modules_load_file(path, _SECTION.encode(), 0) != 1:
            raise ValueError("OpenSSL does not take them")
