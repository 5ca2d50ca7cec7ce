"""Which configurations are kept: the start's, where nothing was kept before."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.config import Config
from supervisor.control.lookups import run
from supervisor.control.peer import Peer
from supervisor.master import history
from supervisor.master.history import ConfigHistory
from supervisor.master.origin import Origin
from supervisor.runtime.loop import Loop
from tests.supervisor.changing import QUIET, Clock

JOBS: Any = SimpleNamespace(send=lambda job, done: done(run(job)))
"""Each is done at once."""


def config(grace: int) -> Config:
    return Config(0, {"tracespace": 64, "grace": grace}, things={})


@pytest.mark.parametrize("is_there", [True, False])
def test_the_start_can_be_come_back_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_there: bool) -> None:
    """Also in a new installation, where no directory is made before something is changed."""
    monkeypatch.setattr(history, "lines_of_config", lambda config, *_: [f"set grace {config.variables['grace']}s"])
    statedir = tmp_path / "state"
    if is_there:
        statedir.mkdir()
    program, loop = SimpleNamespace(name="pproxy"), cast(Loop, Clock())
    kept = ConfigHistory(statedir, program, {}, loop=loop, jobs=JOBS, log=QUIET, has_successor=lambda: False)
    kept.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(kept.kept.entries) == is_there
    assert statedir.exists() == is_there
    ann = Origin(Peer(1000, 2), own=False)
    kept.changed(ann, "set grace 7s", config(7))
    first, second = kept.kept.entries
    assert (first.commands, first.pid, second.commands, second.uid) == (("(start)",), 1, ("set grace 7s",), 1000)
    assert first.when <= second.when
    names = sorted(path.name for path in (statedir / "history").iterdir())
    assert names == ["pproxy.000001.rc", "pproxy.000002.rc"]
    assert (statedir / "history" / names[0]).read_text().splitlines()[-1] == "set grace 1s"
