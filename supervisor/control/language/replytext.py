"""A reply as people read it: its data as lines, its text with notes."""

import json
from collections.abc import Mapping
from typing import Any

from supervisor.control.words import NOTE


def noted(text: str, *notes: str | None) -> str:
    """The text with the notes that there are."""
    return NOTE.join([text, *(note for note in notes if note)])


def lines_of(data: Any) -> list[str]:
    """Data as lines for people: list items, `name value` of a mapping, a list of mappings as columns with a heading."""
    if data is None:
        return []
    if isinstance(data, Mapping):
        return [f"{name} {_cell(value)}" for name, value in data.items()]
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        return _columns(data)
    if isinstance(data, list):
        return [_cell(item) for item in data]
    return [_cell(data)]


def _columns(rows: list[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (list, dict)) else str(value)
