"""Our workers end by `os._exit`, at which gcc's counters are not written: here they end by exit(3) of the C library."""

import ctypes
import os

os._exit = ctypes.CDLL(None).exit
