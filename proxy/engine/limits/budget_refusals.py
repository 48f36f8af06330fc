"""What a caller is told whose call may not begin because of a budget."""

import math
from typing import Final

from proxy.core.budget import Budget, Limit
from proxy.core.errors import Refusal

SOON: Final = 60
"""Seconds that SDKs wait when they are told to; they are told not to try again when more are left of a window."""


def exhausted(budget: Budget, limit: Limit, left: float) -> Refusal:
    """429, until the window ends in `left` seconds."""
    seconds = max(math.ceil(left), 1)
    headers = {"Retry-After": str(seconds)}
    if seconds > SOON:
        headers["x-should-retry"] = "false"
    message = f"A budget is used up: {budget.says(limit)}. It begins anew in {seconds} seconds."
    return Refusal(429, "budget_exhausted", message, type="rate_limit_error", headers=headers)


def price_unknown(budget: Budget, model: str | None, *, counts: bool) -> Refusal:
    """400: the limit could not be kept."""
    named = "a call without a model" if model is None else f"the model '{model}'"
    why = f"the price of {named} is not known here" if counts else "what this call costs can't be told from its answer"
    message = f"The cost of this call is limited ({budget.says('cost')}), and {why}."
    return Refusal.bad_request("price_unknown", message, "X-Max-Cost" if budget.asked else "model")
