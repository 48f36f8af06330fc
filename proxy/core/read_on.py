"""Reading on behind a stop: the upstream bills all of its answer anyway, so its usage is waited for.

Nothing that comes is kept, it is only counted. Pure: the caller passes the time in (monotonic seconds).
"""

from proxy.core.partial import Partial
from proxy.core.settlement import Beyond
from proxy.core.usage import CHARACTERS_A_TOKEN


class ReadOn:
    """What is read of one answer behind its stop, and how long that may go on."""

    __slots__ = ("_before", "_most", "_shows_reasoning", "partial", "to_the_end", "until")

    def __init__(self, stopped: Partial, until: float, tokens: int) -> None:
        """Go on from what was there at the stop, until a time, and for so many tokens at the most."""
        self._before = stopped.counted_characters
        self._shows_reasoning = any(choice.reasoning is not None for choice in stopped.choices.values())
        self.until = until
        """Until when it goes on at the most."""
        self._most = tokens * CHARACTERS_A_TOKEN
        self.partial = stopped.counting_on()
        """What is folded into from now on."""
        self.to_the_end = False
        """Whether the answer ended by itself."""

    @property
    def behind(self) -> int:
        """Characters that came behind the stop."""
        return self.partial.counted_characters - self._before

    def is_over(self, now: float) -> bool:
        """Whether one of its bounds is reached. Tokens are estimated from characters, for the time being."""
        return now >= self.until or self.behind >= self._most

    def beyond(self) -> Beyond:
        """What came of it."""
        usage, is_final = self.partial.usage, self.partial.usage_is_final
        return Beyond(
            usage if is_final else None,
            self._before,
            self.behind,
            self._shows_reasoning,
            self.to_the_end,
            None if is_final or self.partial.outgrew_usage else usage,
        )
