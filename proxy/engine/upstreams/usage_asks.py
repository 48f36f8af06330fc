"""What an upstream is asked for, so that its own counts can be billed: what it is known to take, and was seen to take.

Asking costs the client's call where an upstream refuses to be asked. So `usage: auto` asks what the upstream's API
reference documents, or what a client asked by itself and got. Whatever the setting, an upstream that refuses a call
for what was added to it is not asked that again.
"""

from typing import Final

import structlog
from yarl import URL

from proxy.core.errors import Refusal
from proxy.core.generation import Generation
from proxy.core.settings.settings import UpstreamSettings
from proxy.core.usage import UsageAsk
from proxy.engine.relaying.head import Head
from proxy.engine.relaying.plan import Plan

log = structlog.get_logger()

TAKING_USAGE: Final = (
    ".openai.com",
    ".openai.azure.com",
    ".openrouter.ai",
    ".groq.com",
    ".deepseek.com",
    ".together.xyz",
)
"""Providers whose API references document `stream_options.include_usage`."""

_WANTED: Final = {"none": UsageAsk.NOTHING, "final": UsageAsk.FINAL, "continuous": UsageAsk.RUNNING}
_OK: Final = 200
_REFUSALS: Final = frozenset({400, 422})
_PATIENCE: Final = 3
"""Refusals in a row that don't say why, after which an upstream that never took what was asked is not asked again."""
_RUNNING_WORDS: Final = ("continuous_usage",)
_WORDS: Final = ("stream_options", "include_usage")


class UsageAsks:
    """What one upstream is asked for. Learns from every call that ends."""

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self._name = name
        documented = settings.format == "openai" and _host_of(settings.base_url).endswith(TAKING_USAGE)
        self._seen = UsageAsk.FINAL if documented else UsageAsk.NOTHING
        self._wanted = _WANTED.get(settings.usage)
        self._most = UsageAsk.RUNNING
        self._unexplained = 0

    @property
    def level(self) -> UsageAsk:
        """What a stream is asked for."""
        return min(self._seen if self._wanted is None else self._wanted, self._most)

    @property
    def forbidden(self) -> bool:
        """Whether nothing may be asked, not even where the answer has to have it."""
        return UsageAsk.NOTHING in (self._wanted, self._most)

    def learn(self, plan: Plan, generation: Generation, head: Head | Refusal | None) -> None:
        """Look at how a call ended: what it asked for, by itself or for us, and what came of it.

        `head`: what its client was answered with.
        """
        partial, status = generation.partial, generation.status
        if status in _REFUSALS and plan.asks_usage:
            self._refused(plan.asks_usage, _words(head))
        elif status == _OK and (plan.asks_usage or plan.wants_usage or plan.wants_running):
            self._unexplained = 0
            if partial.usage_runs and (plan.wants_running or plan.asks_usage >= UsageAsk.RUNNING):
                self._took(UsageAsk.RUNNING)
            elif partial.usage_chunk:
                self._took(UsageAsk.FINAL)

    def _took(self, ask: UsageAsk) -> None:
        self._seen = max(self._seen, ask)
        self._most = max(self._most, ask)

    def _refused(self, ask: UsageAsk, words: str) -> None:
        """A call was refused: for what was added to it, if that is named; nobody adds it but us."""
        if ask >= UsageAsk.RUNNING and any(word in words for word in _RUNNING_WORDS):
            self._lower(UsageAsk.FINAL)
        elif any(word in words for word in _WORDS):
            self._lower(UsageAsk.NOTHING)
        elif self._seen < ask:
            self._unexplained += 1
            if self._unexplained >= _PATIENCE:
                self._lower(UsageAsk(ask - 1))

    def _lower(self, most: UsageAsk) -> None:
        if most < self._most:
            self._most, self._seen, self._unexplained = most, min(self._seen, most), 0
            log.warning("upstream.refuses_usage", upstream=self._name, asked_from_now_on=most.name.lower())


def _words(head: Head | Refusal | None) -> str:
    """What the upstream's refusal says, as far as it was kept."""
    if isinstance(head, Refusal):
        return head.message
    return head.body.decode(errors="replace") if head is not None and head.body is not None else ""


def _host_of(base_url: str) -> str:
    return "." + (URL(base_url).host or "")
