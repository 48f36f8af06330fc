"""What a dialect says of its own calls, for the description of the HTTP API."""

import re
from dataclasses import dataclass
from typing import Final, Literal

_NAME: Final = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: `path` is what stands behind the route's, with `{names}` for what differs.

    `does`: it starts a generation, or stops one; else it only reads or writes what is kept. `example`: such a path,
    where the form of an id matters.
    """

    method: str
    path: str
    summary: str
    does: Literal["starts", "stops", "keeps"] = "keeps"
    example: str = ""

    @property
    def sample(self) -> str:
        """A path that this call is served at."""
        return self.example or _NAME.sub("x", self.path)
