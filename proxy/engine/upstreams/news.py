"""How the calls of each upstream went lately, as the generations that ended tell. No upstream is called for it."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.core.errors import UpstreamErrorKind
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record

ERROR_SECONDS: Final = 300.0
"""Errors are counted for so long."""

UpstreamState = Literal["ok", "failing", "unused"]

_BUCKET: Final = 10.0
_ITS_OWN: Final = frozenset({*(kind.value for kind in UpstreamErrorKind), "upstream_error"})
"""Kinds of errors that are the upstream's. Else its caller asked for what it can't have, or we had no room."""
_REFUSES_US: Final = frozenset({401, 403})
"""Statuses of an upstream that does not take the credential: then it will not take the next one either."""


@dataclass(slots=True)
class News:
    """What is known of one upstream. Times are seconds since the epoch."""

    last_error: tuple[float, str] | None = None
    """When, and of which kind."""
    last_success: float | None = None
    failed_at: float | None = None
    """The last error that was its own."""
    _errors: deque[tuple[float, Counter[str]]] = field(default_factory=deque)

    def failed(self, at: float, kind: str, *, is_its_own: bool) -> None:
        """A call ended with an error."""
        self.last_error = at, kind
        if is_its_own:
            self.failed_at = at
        if not self._errors or at - self._errors[-1][0] >= _BUCKET:
            self._errors.append((at, Counter()))
        self._errors[-1][1][kind] += 1
        self._forget(at)

    def errors(self, now: float) -> dict[str, int]:
        """How many errors of each kind there were in the last `ERROR_SECONDS`."""
        self._forget(now)
        return dict(sorted(sum((counts for _, counts in self._errors), Counter[str]()).items()))

    def state(self, answered: float | None = None) -> UpstreamState:
        """How the last call went; `answered`: when one that runs had its first byte."""
        good = max((at for at in (self.last_success, answered) if at is not None), default=None)
        if self.failed_at is not None and (good is None or good < self.failed_at):
            return "failing"
        return "unused" if good is None else "ok"

    def _forget(self, now: float) -> None:
        while self._errors and now - self._errors[0][0] > ERROR_SECONDS:
            self._errors.popleft()


class UpstreamNews:
    """The news of all upstreams, by name."""

    def __init__(self) -> None:
        self._news: dict[str, News] = {}

    def of(self, upstream: str) -> News:
        """What is known of an upstream; of one that was never called, nothing."""
        return self._news.get(upstream) or News()

    def settled(self, record: Record, status: int | None) -> None:
        """A generation ended; `status` is that of the upstream's answer, if one came."""
        news = self._news.setdefault(record.upstream, News())
        at, kind = record.ended_at or record.started_at, record.error_kind
        if kind is not None and record.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
            news.failed(at, kind, is_its_own=kind in _ITS_OWN or status in _REFUSES_US)
        elif kind is None and record.first_token_at is not None:
            news.last_success = max(at, news.last_success or at)
