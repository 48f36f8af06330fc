"""Reading Dify's create requests: what is asked, checked as Dify checks it."""

from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.settings import RouteSettings
from proxy.core.templates import fill
from proxy.dialects.dify.errors import invalid_param

MODES: Final = ("streaming", "blocking")
MAX_USER: Final = 512


@dataclass(frozen=True, slots=True)
class Asked:
    """One create request."""

    inputs: dict[str, str]
    query: str
    user: str
    streams: bool
    files: list[str] = field(default_factory=list)
    """Addresses of images."""

    def messages(self, route: RouteSettings) -> list[dict[str, Any]]:
        """The system message and the user's turn, from the route's templates."""
        values = {**self.inputs, "query": self.query}
        found: list[dict[str, Any]] = []
        if route.system is not None:
            found.append({"role": "system", "content": fill(route.system, values)})
        text = self.query if route.prompt is None else fill(route.prompt, values)
        return [*found, {"role": "user", "content": _content(text, self.files)}]


def _content(text: str, files: list[str]) -> str | list[dict[str, Any]]:
    if not files:
        return text
    images = [{"type": "image_url", "image_url": {"url": url}} for url in files]
    return [{"type": "text", "text": text}, *images]


def read_request(found: dict[str, Any]) -> Asked:
    """Read a create request.

    Raises:
        Refusal: 400 `invalid_param`.
    """
    user = found.get("user")
    if not isinstance(user, str) or not user or len(user) > MAX_USER:
        raise invalid_param("Arg user must be provided.", "user")
    inputs = found.get("inputs")
    if not isinstance(inputs, dict):
        raise invalid_param("inputs must be an object; {} if the app has no variables.", "inputs")
    mode = found.get("response_mode", "blocking")
    if mode not in MODES:
        raise invalid_param("response_mode must be streaming or blocking.", "response_mode")
    query = found.get("query") or inputs.get("query") or ""
    if not isinstance(query, str):
        raise invalid_param("query must be a string.", "query")
    values = {name: _text(name, value) for name, value in inputs.items()}
    return Asked(values, query, user, mode == "streaming")


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise invalid_param(f"{name} in inputs must be a string or a number.", name)
