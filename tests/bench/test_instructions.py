"""A guard: a session costs a worker what is written down, give or take 5 %. A change that saves moves the figure."""

import json
import platform
from pathlib import Path

import pytest

from supervisor import compiled
from tests.bench.instructions import KINDS, measure
from tests.patience import patient
from tests.system.site import need

STORED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.05


def _pair() -> str:
    """By what the figure is decided: Python's minor version, and the compiler's major one."""
    minor = ".".join(platform.python_version_tuple()[:2])
    return f"Python {minor}, {compiled.IN_USE.compiler if compiled.IN_USE is not None else 'pure'}"


@pytest.mark.timeout(patient(300))
@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=[pytest.mark.nightly] * (kind.tls is not None)) for name, kind in KINDS.items()]
)
def test_instructions_of_a_session(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Within 5 % of the stored figure, both ways; a pair that has none is printed, and not judged."""
    need("valgrind")
    found = measure(kind)
    stored = json.loads(STORED.read_text()).get(_pair(), {}).get(kind)
    with capsys.disabled():
        print(f"\n{kind}, {_pair()}: {found} instructions, stored: {stored}")
    assert stored is None or abs(found - stored) <= TOLERANCE * stored, (
        f"{found} instructions are not {stored}, give or take 5 %: look for the reason; if it is meant, write the new "
        f"figure into {STORED.name}"
    )
