"""Tests of proxy.engine.settling.early_prompts: whose prompt is counted while its stream runs, and how many at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.generation import Facts, Generation, Identity
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.partial import Partial
from proxy.core.record import UsageSource
from proxy.core.usage import Usage, UsageAsk
from proxy.engine.relaying.plan import Plan
from proxy.engine.settling.counted import counted
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.early_prompts import AT_ONCE, BYTES_A_SECOND, EarlyPrompts
from proxy.wire.openai_chat import OpenAIChat
from support.wait import eventually

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
PROMPT = 8
"""The tokens of HELLO."""
SOON = 0.25
"""The first sweep, in seconds."""


class CountingCounter(Counter):
    """A counter that says how many prompts it was given, and keeps them until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = self.waiting = 0
        self.fails = False

    async def count_prompt(self, body: bytes, encoding: str) -> tuple[int | None, UsageSource]:
        """See `Counter`."""
        self.begun += 1
        self.waiting += 1
        await self.go_on.wait()
        self.waiting -= 1
        if self.fails:
            raise OSError("the vocabulary is gone")
        return await super().count_prompt(body, encoding)


@pytest.fixture
async def counter() -> AsyncIterator[CountingCounter]:
    """A counter with its vocabularies loaded."""
    found = CountingCounter()
    await found.warm()
    yield found
    await found.aclose()


@pytest.fixture
async def prompts(counter: CountingCounter) -> AsyncIterator[EarlyPrompts]:
    """What is under test."""
    found = EarlyPrompts(counter)
    yield found
    await found.end()


def relay(request: Any = HELLO, *, phase: Phase = Phase.STREAMING, **plan: Any) -> Any:
    """As much of a relay as is looked at; its generation began at 0."""
    facts = Facts("u", "t", "m", Identity("i", "i"), "openai", "/v1", "up", "gpt-4o", None, {}, "r", 0.0, 0.0)
    generation = Generation(facts, Partial())
    generation.phase = phase
    made = Plan("openai", OpenAIChat(), "/x", "", json.dumps(request).encode(), "gpt-4o", None, streamed=True, **plan)
    upstream = SimpleNamespace(settings=SimpleNamespace(encoding="auto"))
    found = SimpleNamespace(generation=generation, plan=made, upstream=upstream, tee=object(), counts_prompt=False)
    found.news = asyncio.Event()
    found.has_news = found.news.set
    return found


async def test_as_many_as_may_wait_at_once(counter: CountingCounter, prompts: EarlyPrompts) -> None:
    """So many prompts are with the counter, and no more; the others have their turn at a later sweep, each one."""
    relays = [relay() for _ in range(2 * AT_ONCE + 1)]
    counter.go_on.clear()
    for _ in range(3):
        for each in relays:
            prompts.look_at(each, SOON)
        await eventually(lambda: counter.waiting == AT_ONCE, what="the counter has its fill")
    assert counter.begun == AT_ONCE
    counter.go_on.set()

    def all_counted() -> bool:
        for each in relays:
            prompts.look_at(each, SOON)
        return all(each.generation.prompt is not None for each in relays)

    await eventually(all_counted, what="every prompt is counted")
    assert counter.begun == len(relays)


async def test_a_prompt_is_counted_once(counter: CountingCounter, prompts: EarlyPrompts) -> None:
    """Neither a later sweep nor the end counts it again; what is known while it runs has it, with its source."""
    found = relay()
    counter.go_on.clear()
    for now in range(1, 20):
        prompts.look_at(found, now)
        await asyncio.sleep(0)
    counter.go_on.set()
    await found.news.wait()
    prompts.look_at(found, 20.0)
    known = found.generation.known(0)
    assert (known.prompt_tokens, known.usage_source) == (PROMPT, UsageSource.TOKENIZER)
    found.generation.end(Outcome.COMPLETED, 20.0)
    assert (await counted(found, counter)).usage == Usage(PROMPT, 0)
    assert counter.begun == 1


async def test_a_count_that_fails_is_left_to_the_end(counter: CountingCounter, prompts: EarlyPrompts) -> None:
    """It is not tried at every sweep; the end tries it once more."""
    found, counter.fails = relay(), True
    prompts.look_at(found, SOON)
    await found.news.wait()
    for _ in range(5):
        prompts.look_at(found, SOON)
        await asyncio.sleep(0)
    assert (found.generation.prompt, counter.begun) == (None, 1)
    counter.fails = False
    found.generation.end(Outcome.COMPLETED, 2.0)
    assert (await counted(found, counter)).usage.prompt_tokens == PROMPT


ASKED = [{"asks_usage": UsageAsk.FINAL}, {"asks_usage": UsageAsk.RUNNING}, {"wants_usage": True}]


@pytest.mark.parametrize("asked", ASKED, ids=["for us", "running", "by the client"])
async def test_where_usage_was_asked_for_a_stream_must_last(
    counter: CountingCounter, prompts: EarlyPrompts, asked: dict[str, Any]
) -> None:
    """A short prompt is counted at the first sweep, a long one when its stream has run the longer the longer it is."""
    short, long = relay(**asked), relay({"messages": [{"role": "user", "content": "word " * 10_000}]}, **asked)
    due = len(long.plan.body) / BYTES_A_SECOND
    prompts.look_at(short, SOON)
    prompts.look_at(long, due - 0.01)
    await short.news.wait()
    assert (short.generation.prompt, counter.begun) == ((PROMPT, UsageSource.TOKENIZER), 1)
    assert due > 5
    prompts.look_at(long, due)
    await long.news.wait()
    assert long.generation.prompt[0] > 10_000


async def test_where_nobody_tells_it_is_counted_at_once(counter: CountingCounter, prompts: EarlyPrompts) -> None:
    """However long it is: the end would have to count it as well."""
    found = relay({"messages": [{"role": "user", "content": "word " * 10_000}]})
    prompts.look_at(found, SOON)
    await found.news.wait()
    assert (found.generation.prompt is not None, counter.begun) == (True, 1)


def told() -> Any:
    """An upstream that tells its counts while it runs."""
    found = relay(asks_usage=UsageAsk.RUNNING)
    event = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}
    OpenAIChat().fold(b"data: " + json.dumps(event).encode() + b"\n\n", found.generation.partial)
    return found


def over() -> Any:
    """A generation that has ended."""
    found = relay()
    found.generation.end(Outcome.COMPLETED, 2.0)
    return found


@pytest.mark.parametrize(
    "make",
    [
        told,
        over,
        lambda: relay(counts=False),
        *(lambda phase=phase: relay(phase=phase) for phase in (Phase.QUEUED, Phase.CONNECTING, Phase.WAITING)),
    ],
    ids=["told", "over", "not worth it", "queued", "connecting", "waiting"],
)
async def test_what_needs_no_count(counter: CountingCounter, prompts: EarlyPrompts, make: Any) -> None:
    """Nothing is counted that the upstream has told, that is over, that is no prompt, or that has no answer yet."""
    prompts.look_at(make(), 1000.0)
    await asyncio.sleep(0)
    assert counter.begun == 0
