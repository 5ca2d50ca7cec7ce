"""What others hold on to stays to the letter: names, numbers, keys, exit codes, frames."""

from pathlib import Path

import pytest

from tests.golden.collected import collected
from tests.golden.outside import HERE

FILES = sorted(path.name for path in HERE.glob("*.txt"))


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the programs show today."""
    return collected(Path(tmp_path_factory.mktemp("golden")))


def test_every_file_is_compared(now: dict[str, str]) -> None:
    """None is left over, none is missing."""
    assert sorted(now) == FILES


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_lost(name: str, now: dict[str, str]) -> None:
    """Each line of the file is still said. New ones may be added (`python -m tests.golden`), none may go or change."""
    before, after = (HERE / name).read_text().splitlines(), now[name].splitlines()
    lost = [line for line in before if line not in set(after)]
    assert lost == []
