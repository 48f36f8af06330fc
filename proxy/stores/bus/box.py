"""What lies at a Redis or Valkey server for the readers of one replica: a stream, read while there are readers.

It survives a lost connection, and waits for no one: whoever is late reads many parcels at once. What was read is
trimmed once a second; a stream that nobody reads is short, and gone soon.
"""

import time
from typing import Any, Final

from proxy.stores.bus.connect import Client, milliseconds, reason
from proxy.stores.bus.line import Line
from proxy.stores.bus.port import COLLECT_SECONDS, BusUnavailableError

AT_ONCE: Final = 100
TRIM_SECONDS: Final = 1.0
_START: Final = b"0-0"


class Box:
    """One replica's parcels."""

    def __init__(self, client: Client, line: Line, key: str) -> None:
        self._client = client
        self._line = line
        self._key = key
        self._last = _START
        self._trimmed_at = 0.0

    async def collect(self) -> list[bytes]:
        """See `Bus.collect`.

        Raises:
            BusUnavailableError: the server does not answer, or has something else there.
        """
        try:
            answer: Any = await self._client.xread({self._key: self._last}, AT_ONCE, milliseconds(COLLECT_SECONDS))
            entries = answer[0][1] if answer else []
        except Exception as error:
            self._last = _START  # a server that took over may count otherwise
            raise BusUnavailableError(reason(error)) from error
        if not entries:
            return []
        self._last = entries[-1][0]
        if (now := time.monotonic()) - self._trimmed_at > TRIM_SECONDS:
            self._trimmed_at = now
            self._line.call("XTRIM", self._key, "MINID", "~", self._last)
        return [fields[b"p"] for _, fields in entries if b"p" in fields]
