"""The settings of a provider's own abort call, and the request that they make."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field

from proxy.core.settings.scalar_types import Section
from proxy.core.settings.urls import check_base_url
from proxy.core.templates import VARIABLE, fill, variables

UPSTREAM_ID: Final = "upstream_id"
IDS: Final = (UPSTREAM_ID, "task_id")
"""What the templates can name."""

_TARGET: Final = re.compile(r"[!$-;=?-Z_a-z~]+")
_PLACE: Final = "x"


def _check_names(text: str) -> None:
    if "{{" in VARIABLE.sub("", text):
        raise ValueError("expected variables as {{name}}, each closed by }}")
    for name in variables(text):
        if name not in IDS:
            raise ValueError(f"{{{{{name}}}}} is not known here; there are {{{{upstream_id}}}} and {{{{task_id}}}}")


def _check_path(text: str) -> str:
    """A path below base_url, or a whole address.

    Raises:
        ValueError: it is neither.
    """
    _check_names(text)
    filled = fill(text, dict.fromkeys(IDS, _PLACE))
    if not text.startswith(("/", "http://", "https://")):
        raise ValueError(f"expected a path below base_url, such as /{text}, or a whole address, such as http://…")
    if _TARGET.fullmatch(filled) is None:
        raise ValueError(
            "expected a path without blanks, #, backslashes and anything outside ASCII; escape it with %XX"
        )
    plain = filled.partition("?")[0]
    check_base_url(f"http://host{plain}" if plain.startswith("/") else plain)  # no empty, . and .. segments
    return text


def _check_body(text: str) -> str:
    """JSON with variables inside its strings.

    Raises:
        ValueError: it is none.
    """
    _check_names(text)
    try:
        json.loads(fill(text, dict.fromkeys(IDS, _PLACE)))
    except ValueError:
        message = """expected JSON with its variables inside of strings, such as '{"rid": "{{upstream_id}}"}'"""
        raise ValueError(message) from None
    return text


class AbortSettings(Section):
    """The provider's own abort call, as templates over `upstream_id` and `task_id`."""

    method: Literal["POST", "DELETE", "PUT"] = Field("POST", description="The HTTP method.")
    path: Annotated[str, AfterValidator(_check_path)] = Field(
        description="Below base_url, such as /responses/{{upstream_id}}/cancel; a whole address where it is elsewhere "
        "at the same host, such as http://127.0.0.1:30000/abort_request."
    )
    body: Annotated[str, AfterValidator(_check_body)] | None = Field(
        None, description="The JSON body, if the provider wants one."
    )

    @property
    def needs_upstream_id(self) -> bool:
        """Whether it can't be called before the upstream has named its completion."""
        return UPSTREAM_ID in variables(f"{self.path} {self.body or ''}")

    @property
    def _is_below(self) -> bool:
        return self.path.startswith("/")

    def fits(self, base_url: str) -> bool:
        """Whether it goes to where the upstream is: our credential is for nobody else."""
        return self._is_below or _origin(fill(self.path, dict.fromkeys(IDS, _PLACE))) == _origin(base_url)

    def url(self, base_url: str, ids: Mapping[str, str]) -> str:
        """The address, each id escaped as one segment of a path."""
        filled = fill(self.path, {name: quote(value, safe="") for name, value in ids.items()})
        return base_url + filled if self._is_below else filled

    def content(self, ids: Mapping[str, str]) -> bytes:
        """The body, each id escaped as part of a JSON string; empty without one."""
        if self.body is None:
            return b""
        return fill(self.body, {name: json.dumps(value)[1:-1] for name, value in ids.items()}).encode()


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]
