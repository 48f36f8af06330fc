"""Reading the query of a list: limit, order, cursors."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qs

from proxy.dialects.aitronos.errors import invalid
from proxy.dialects.aitronos.ids import thread_key

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_FIELDS: Final = 50
_ORDERS: Final[dict[str, Literal["newest", "oldest"]]] = {"desc": "newest", "asc": "oldest"}
_FLAGS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list. `visible`: only threads that are, or are not, shown in lists; None: both."""

    limit: int
    order: Literal["newest", "oldest"]
    after: str | None
    before: str | None
    visible: bool | None


def read_page(query: str, *, default_order: str) -> Page:
    """Read a query; parameters that mean nothing here are left alone.

    Raises:
        Refusal: 422.
    """
    try:
        found = {name: values[-1] for name, values in parse_qs(query, max_num_fields=MAX_FIELDS).items()}
    except ValueError:
        raise invalid({"query": f"expected at most {MAX_FIELDS} parameters"}) from None
    wrong: dict[str, str] = {}
    limit = found.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= MAX_LIMIT):  # noqa: PLR2004
        wrong["limit"] = f"expected a whole number from 1 to {MAX_LIMIT}"
    order = _ORDERS.get(found.get("order", default_order))
    if order is None:
        wrong["order"] = "expected asc or desc"
    visible = found.get("visible_in_ui", "true").lower()
    if visible not in _FLAGS:
        wrong["visible_in_ui"] = "expected true or false"
    if wrong or order is None:
        raise invalid(wrong)
    after, before = (None if name not in found else thread_key(found[name]) for name in ("after", "before"))
    return Page(int(limit), order, after, before, _FLAGS[visible])
