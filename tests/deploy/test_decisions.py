"""The decisions can be cited by number."""

import re
from pathlib import Path

CHAPTERS = sorted((Path(__file__).parents[2] / "docs/decisions").glob("[0-9]*.md"))
NUMBER = re.compile(r"^\*\*(\d+)\.(\d+) ", re.MULTILINE)
INDEX = (Path(__file__).parents[2] / "docs/decisions/README.md").read_text("utf-8")


def numbers(text: str) -> list[tuple[int, int]]:
    """The numbers of one chapter's decisions, in their order."""
    return [(int(chapter), int(number)) for chapter, number in NUMBER.findall(text)]


def test_numbers_count_up() -> None:
    """Within a chapter from 1, without a gap; the file and its title bear the chapter's number."""
    assert len(CHAPTERS) >= 10
    for count, path in enumerate(CHAPTERS, 1):
        text = path.read_text("utf-8")
        assert path.name.startswith(f"{count:02}-")
        assert text.startswith(f"# {count}. ")
        found = numbers(text)
        assert found == [(count, number) for number in range(1, len(found) + 1)], path.name
        assert len(found) == len(re.findall(r"^\*\*", text, re.MULTILINE)), f"{path.name}: one has no number"


def test_what_supersedes_exists() -> None:
    """A decision that holds no longer names one that does."""
    texts = [path.read_text("utf-8") for path in CHAPTERS]
    known = {f"{chapter}.{number}" for text in texts for chapter, number in numbers(text)}
    named = [number for text in texts for number in re.findall(r"superseded by (\d+\.\d+)", text, re.IGNORECASE)]
    assert len(named) >= 3
    assert [number for number in named if number not in known] == []


def test_every_chapter_is_in_the_index() -> None:
    """With its title, as a link."""
    assert [path.name for path in CHAPTERS if f"({path.name})" not in INDEX] == []
    assert [path.name for path in CHAPTERS if path.read_text("utf-8").splitlines()[0].lstrip("# ") not in INDEX] == []
