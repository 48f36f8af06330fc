"""What every answer of the admin API has in its head."""

from typing import Final

HEADERS: Final = {"Server": "quell", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
