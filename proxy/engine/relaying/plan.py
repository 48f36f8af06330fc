"""What is decided before a relay runs: the dialect's plan, the request as it goes up, the rules of the route."""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.lifecycle import OnDisconnect
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.engine.settling.pricing import Pricing
from proxy.engine.translating.run import Run
from proxy.engine.translating.translation import Kept, Translation
from proxy.wire.answer import AnswerFold
from proxy.wire.base import StreamFold, Wire


@dataclass(frozen=True, slots=True)
class Plan:
    """One call to be made upstream.

    `streamed`: the client asked for a stream. `folded`: it did not, but the upstream is asked for one that is folded
    into the answer, by what `answer_fold` makes for an answer of so many characters at the most. `wants_usage`: the
    client's stream ends with its usage; `wants_running`: the client asked for running totals. `asks_usage`: what was
    asked for beside that, for counting; `strips_usage`, `strips_running`: what of it is taken out again of the client's
    stream. `counts`: prompt and text are worth counting where no usage came.

    For translated dialects: `translation` says everything to the client, `kept` goes into the conversation store, `run`
    is what this call belongs to. `message_id` is the answer's id where the dialect has chosen one, `aliases` are other
    ids to stop it by. `on_disconnect`: the dialect's own rule, in place of the route's. `most_seconds`: how long it may
    take before it is stopped, cause deadline. `max_tokens`: the most completion tokens that it allows, all choices
    together.
    """

    dialect: str
    wire: Wire
    path: str
    query: str
    body: bytes
    model: str | None
    user: str | None
    streamed: bool
    folded: bool = False
    answer_fold: Callable[[int], StreamFold] = AnswerFold
    wants_usage: bool = False
    wants_running: bool = False
    asks_usage: UsageAsk = UsageAsk.NOTHING
    strips_usage: bool = False
    strips_running: bool = False
    counts: bool = True
    translation: Translation | None = None
    kept: Kept | None = None
    run: Run | None = None
    message_id: str | None = None
    aliases: tuple[str, ...] = ()
    on_disconnect: OnDisconnect | None = None
    most_seconds: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The plan's request as it goes up: address, headers and body are final."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that hold for a generation to its end, also over a reload.

    `strict`: the START must be on disk before the upstream is called, not only before the client's first byte.
    `kept`: bytes kept of a non-streaming answer for the fold. `answer`: the longest answer folded from a stream.
    `pricing`: what it will cost.
    """

    route: RouteSettings
    finish_reason: str
    strict: bool
    kept: int
    answer: int
    pricing: Pricing
