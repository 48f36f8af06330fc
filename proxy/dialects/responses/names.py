"""The dialect's names, and the API's ids: a prefix and 32 hex digits."""

from typing import Final

from proxy.core.ids import new_id

NAME: Final = "openai"
"""What records and the conversation store have: to its clients this is OpenAI's API like the rest of the route."""
ROOT: Final = "/responses"
RESPONSE: Final = "resp_"
NOT_STORED: Final = "resp_x"
"""A response with `store: false`: its record tells by the id, for ever, that no store is to have it."""
MESSAGE: Final = "msg_"
CALL: Final = "fc_"
OUTPUT: Final = "fco_"
REASONING: Final = "rs_"


def fresh(prefix: str) -> str:
    """A new id."""
    return prefix + new_id().replace("-", "")
