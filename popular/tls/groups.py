"""The groups of the key exchange: elliptic curves only, for every context of this process and its children.

Python cannot say it before 3.15, and OpenSSL's own list has finite-field groups: an exchange in ffdhe8192 costs us
108 ms where X25519 costs less than one, and the client nothing (CVE-2002-20001), so that ten ClientHellos a second
would stop a worker. OpenSSL takes the list from its configuration, as it takes a system's defaults.
"""

import _ssl
import ctypes
import os
import ssl
from functools import cache

_CURVES = "X25519:P-256:X448:P-521:P-384"
_HYBRIDS = "X25519MLKEM768:"
"""The exchange that a quantum computer does not break (OpenSSL 3.5 and later)."""
_SECTION = "popular"
_CONFIGURATION = """
{section} = {section}_tls
[{section}_tls]
ssl_conf = {section}_modules
[{section}_modules]
system_default = {section}_groups
[{section}_groups]
Groups = {groups}
"""


@cache
def restrict() -> bool:
    """To be called before the first context is made. False if this Python's OpenSSL cannot be reached."""
    try:
        load = ctypes.CDLL(_ssl.__file__).CONF_modules_load_file
    except (AttributeError, OSError):  # built into the interpreter, or its symbols are hidden
        return False
    load.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong]
    load.restype = ctypes.c_int
    groups = (_HYBRIDS if ssl.OPENSSL_VERSION_INFO >= (3, 5) else "") + _CURVES
    text = _CONFIGURATION.format(section=_SECTION, groups=groups)
    with os.fdopen(os.memfd_create("groups"), "wb", buffering=0) as file:
        file.write(text.encode())
        return bool(load(f"/proc/self/fd/{file.fileno()}".encode(), _SECTION.encode(), 0) == 1)
