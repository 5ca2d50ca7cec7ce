"""Going to the background, seen from the process that goes there."""

import os
import sys

import pytest

from supervisor.runtime.daemon import Daemon


def test_goes_on_if_whoever_started_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C or a time-out ended the process that waited: the one in the background is in force, and lives on."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    monkeypatch.setattr(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115  # `report` closes it
    Daemon(write_end).report(0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write_end)
