"""Writes the golden files."""

import tempfile
from pathlib import Path

from tests.golden.collected import collected
from tests.golden.outside import HERE

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        for name, text in collected(Path(directory)).items():
            (HERE / name).write_text(text)
