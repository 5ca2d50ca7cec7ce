"""All golden files, collected afresh."""

from pathlib import Path

from tests.golden import outside
from tests.golden.frames import frames
from tests.metrics.test_families import full, lines
from tests.system.site import LOOPBACK, Proxy


def collected(directory: Path) -> dict[str, str]:
    """File name → text; `directory` is for the programs' own files."""
    files = {
        "options.txt": outside.once(outside.options()),
        "exit_codes.txt": outside.once(outside.exit_codes()),
        "events.txt": outside.once(outside.events()),
        "ringd_frames.txt": outside.once(frames()),
    }
    for name in outside.SUPERVISED:
        place = directory / name
        place.mkdir()
        with Proxy(place, lines(name, place), name=name, metrics=f"{LOOPBACK}:0") as proxy:
            seen = full(proxy)
            files |= {
                f"{name}_words.txt": outside.once(outside.words(proxy)),
                f"{name}_json.txt": outside.once(outside.keys(proxy, name)),
                f"{name}_metrics.txt": outside.once(outside.metrics(seen)),
                f"{name}_state.txt": outside.once(outside.state(proxy)),
            }
    return files
