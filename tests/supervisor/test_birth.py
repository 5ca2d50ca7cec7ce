"""A birth that fails leaves nothing behind."""

import os
import subprocess
import sys

import pytest

from tests.patience import patient

WITHOUT_PROCESSES = """
import ctypes, multiprocessing.popen_fork, os, resource
from supervisor.runtime import birth
from supervisor.runtime.descriptors import open_descriptors

resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # it may look at itself again
before = open_descriptors()
for _ in range(3):
    process = multiprocessing.get_context("fork").Process(target=int)
    try:
        birth.start(process)
    except BlockingIOError:
        print(len(open_descriptors() - before))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="root becomes a user who may have no process")
def test_no_descriptor_is_lost_when_there_is_no_process_to_spare() -> None:
    """Each attempt is an error for the caller, and no descriptor stays open."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PROCESSES], capture_output=True, text=True, timeout=patient(20)
    )
    assert (done.stdout, done.stderr) == ("0\n0\n0\n", "")
