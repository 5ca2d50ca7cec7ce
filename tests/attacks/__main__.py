"""The attacks, done as a stranger would, with figures: `python -m tests.attacks`, or only some: `… B2 B4`.

The tests do the same on a small scale and fail where something does not hold; this is for numbers, on a machine that
has nothing else to do. It takes some five minutes. The exit code is the number of attacks that were not withstood. A1
needs root.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.attacks import crowds, strangers

ATTACKS = {**strangers.ATTACKS, **crowds.ATTACKS}


def main(names: list[str]) -> int:
    """Runs these attacks, or all."""
    unknown = set(names) - ATTACKS.keys()
    if unknown:
        print(f"there is no attack {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}", file=sys.stderr)
        return 2
    lost = 0
    for name in names or ATTACKS:
        with tempfile.TemporaryDirectory(prefix="popular-attack-") as directory:
            Path(directory).chmod(0o755)
            began = time.monotonic()
            for what, held in ATTACKS[name](Path(directory)):
                lost += not held
                print(f"{name}  {'held' if held else 'LOST'}  {what}", flush=True)
            print(f"{name}  ({time.monotonic() - began:.0f} s)", flush=True)
    return lost


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
