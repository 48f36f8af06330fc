"""The settings in force one by one, with where each comes from. Every secret is masked before it gets here."""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config_file.problems import dotted
from proxy.core.settings.origin import Origin, Place
from proxy.core.settings.settings import Settings, masked


def told_values(settings: Settings) -> list[dict[str, Any]]:
    """Each value, sorted by its key: what it is, and the line and column of the file, or what else set it."""
    origin = settings.origin
    told = [_told(place, value, origin) for place, value in _values(masked(settings), ())]
    return sorted(told, key=lambda each: str(each["key"]))


def _told(place: Place, value: Any, origin: Origin) -> dict[str, Any]:
    line, column = origin.lines.get(place, (None, None))
    source = "file" if line is not None else origin.others.get(place, "default")
    return {"key": dotted(place), "value": value, "line": line, "column": column, "from": source}


def _values(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """The values with nothing below them; a list of plain words or numbers is one value."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _values(below, (*place, key))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for index, each in enumerate(value):
            yield from _values(each, (*place, index))
    else:
        yield place, value
