"""Where the values of settings come from, so that an operator finds the line to change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Place = tuple[str | int, ...]
"""Where a value stands: the keys and list indexes from the root."""

Source = Literal["environment", "command line", "demo"]
"""What may set a value besides the file, for a program that was started without one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values come from; what is named nowhere is a default.

    `file`: the config file's name; None: there was none. `lines`: line and column of what stands in it, both from 1.
    """

    file: str | None = None
    lines: Mapping[Place, tuple[int, int]] = field(default_factory=dict)
    others: Mapping[Place, Source] = field(default_factory=dict)

    def with_others(self, source: Source, *places: Place) -> "Origin":
        """The same, and what came from somewhere else."""
        return replace(self, others={**self.others, **dict.fromkeys(places, source)})
