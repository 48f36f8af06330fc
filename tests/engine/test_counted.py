"""Tests of proxy.engine.settling.counted: whose count stands, and what it is called."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.encodings import CL100K, O200K
from proxy.core.generation import Counted, Facts, Generation, Identity
from proxy.core.lifecycle import Outcome
from proxy.core.partial import Partial
from proxy.core.record import UsageSource
from proxy.core.usage import Usage
from proxy.engine.relaying.plan import Plan
from proxy.engine.settling.counted import counted
from proxy.engine.settling.counting import Counter
from proxy.wire.openai_chat import OpenAIChat

WIRE = OpenAIChat()
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
PICTURE = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://h/x.png"}}]}]}
PROMPT = 8
"""The tokens of HELLO."""


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    """A counter with its vocabularies loaded."""
    found = Counter()
    await found.warm()
    yield found
    await found.aclose()


def relay(partial: Partial, request: Any = HELLO, *, model: str = "gpt-4o", encoding: Any = "auto", **plan: Any) -> Any:
    """As much of a relay as is looked at, its generation ended."""
    facts = Facts("u", "t", "m", Identity("i", "i"), "openai", "/v1", "up", model, None, {}, "r", 0.0, 0.0)
    generation = Generation(facts, partial)
    generation.first_token = 1.0
    generation.end(Outcome.COMPLETED, 2.0)
    made = Plan("openai", WIRE, "/x", "", json.dumps(request).encode(), model, None, streamed=True, **plan)
    upstream = SimpleNamespace(settings=SimpleNamespace(encoding=encoding))
    return SimpleNamespace(generation=generation, plan=made, upstream=upstream, tee=object())


def event(content: str = "", usage: Any = None, *, choice: int | None = 0, finish: str | None = None) -> bytes:
    """One chunk; without a choice it is the one that exists for usage."""
    found = [] if choice is None else [{"index": choice, "delta": {"content": content}, "finish_reason": finish}]
    chunk = {"choices": found, **({} if usage is None else {"usage": usage})}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def total(completion: int, prompt: int | None = 5) -> dict[str, Any]:
    """A usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def folded(*events: bytes) -> Partial:
    """The partial of a stream."""
    partial = Partial()
    for each in events:
        WIRE.fold(each, partial)
    return partial


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event("Rain"), event(usage=total(9), choice=None)], Counted(Usage(5, 9), UsageSource.UPSTREAM)),
        ([event("Rain", total(1)), event(" fell", total(2))], Counted(Usage(5, 2), UsageSource.UPSTREAM_RUNNING)),
        (
            [event("Rain", total(1)), event(" fell", total(2)), event(usage=total(3), choice=None)],
            Counted(Usage(5, 3), UsageSource.UPSTREAM),
        ),
        ([event("Rain"), event(" fell")], Counted(Usage(PROMPT, 2), UsageSource.TOKENIZER, O200K)),
        ([], Counted(Usage(PROMPT, 0), UsageSource.TOKENIZER, O200K)),
    ],
    ids=["final", "running", "final after running", "text", "nothing"],
)
async def test_the_order_of_truth(counter: Counter, events: list[bytes], expected: Counted) -> None:
    """The final usage goes before the last running total, that before the tokenizer."""
    assert await counted(relay(folded(*events)), counter) == expected


@pytest.mark.parametrize(
    ("events", "request_body", "expected"),
    [
        (
            [event("Rain", {"prompt_tokens": 5}), event(" fell")],
            HELLO,
            Counted(Usage(5, 2), UsageSource.TOKENIZER, O200K),
        ),
        (
            [event("Rain"), event(usage={"completion_tokens": 9}, choice=None)],
            HELLO,
            Counted(Usage(PROMPT, 9), UsageSource.TOKENIZER, O200K),
        ),
        (
            [event("Rain"), event(usage={"completion_tokens": 9}, choice=None)],
            PICTURE,
            Counted(Usage(7, 9), UsageSource.ESTIMATE, O200K),
        ),
        ([event("Rain")], PICTURE, Counted(Usage(7, 1), UsageSource.ESTIMATE, O200K)),
        ([event("Rain", {"prompt_tokens": 5})], PICTURE, Counted(Usage(5, 1), UsageSource.TOKENIZER, O200K)),
        (
            [event("Rain"), event(usage={"completion_tokens": 9}, choice=None)],
            {},
            Counted(Usage(None, 9), UsageSource.UPSTREAM),
        ),
        ([event("Rain")], {}, Counted(Usage(None, 1), UsageSource.TOKENIZER, O200K)),
    ],
)
async def test_a_count_of_two_parts_is_called_by_the_less_exact_one(
    counter: Counter, events: list[bytes], request_body: Any, expected: Counted
) -> None:
    """What one side did not say is counted by us, and the record does not claim more than that; unknown stays None."""
    assert await counted(relay(folded(*events), request_body), counter) == expected


async def test_a_running_total_that_was_outgrown_is_no_bound(counter: Counter) -> None:
    """Text behind the last total is not given away; a total that is larger than the text, for what is not shown, is."""
    outgrown = folded(event("Rain", total(1)), event(" fell all night"))
    assert await counted(relay(outgrown), counter) == Counted(Usage(5, 4), UsageSource.TOKENIZER, O200K)
    hidden = folded(event("Rain", total(100)), event(" fell all night"))
    assert await counted(relay(hidden), counter) == Counted(Usage(5, 100), UsageSource.UPSTREAM_RUNNING)


async def test_counts_called_final_are_not_when_more_is_said(counter: Counter) -> None:
    """A server may send its final usage before the answer, or when one of two choices has ended: the text is paid."""
    before = folded(event(usage=total(0), choice=None), event("Rain"), event(" fell all night"))
    assert await counted(relay(before), counter) == Counted(Usage(5, 4), UsageSource.TOKENIZER, O200K)
    one_of_two = folded(event("Rain", total(1), finish="stop"), event(" fell all night", choice=1))
    assert await counted(relay(one_of_two), counter) == Counted(Usage(5, 4), UsageSource.TOKENIZER, O200K)


async def test_an_answer_too_large_to_be_read_has_no_count_of_0(counter: Counter) -> None:
    """A whole answer of which no copy is kept may be any length: its completion is unknown, its prompt is not."""
    unread = relay(Partial(oversize=True))
    unread.plan = replace(unread.plan, streamed=False)
    assert await counted(unread, counter) == Counted(Usage(PROMPT), UsageSource.TOKENIZER, O200K)


async def test_an_event_too_large_to_be_read_makes_an_estimate(counter: Counter) -> None:
    """What stood in it is in no count, so the count of the other events is a lower bound; the upstream's own stands."""
    partial = folded(event("Rain"))
    partial.oversize = True
    assert await counted(relay(partial), counter) == Counted(Usage(PROMPT, 1), UsageSource.ESTIMATE, O200K)
    WIRE.fold(event(usage=total(9), choice=None), partial)
    assert await counted(relay(partial), counter) == Counted(Usage(5, 9), UsageSource.UPSTREAM)


async def test_running_totals_of_several_choices_add_up(counter: Counter) -> None:
    """Servers with running totals count each choice by itself, and only the end as a whole, which then stands."""
    events = [
        event("a", total(1)),
        event("b", total(1), choice=1),
        event("c", total(2)),
        event("d", total(2), choice=1),
    ]
    expected = Counted(Usage(5, 4), UsageSource.UPSTREAM_RUNNING)
    assert await counted(relay(folded(*events)), counter) == expected
    ended = [*events, event("", total(2), finish="stop"), event("", total(2), choice=1, finish="stop")]
    assert await counted(relay(folded(*ended)), counter) == Counted(Usage(5, 4), UsageSource.UPSTREAM)
    whole = [*ended, event(usage=total(5), choice=None)]
    assert await counted(relay(folded(*whole)), counter) == Counted(Usage(5, 5), UsageSource.UPSTREAM)
    other = [*ended, event(usage=total(3), choice=None)]  # a server that meant the total each time
    assert await counted(relay(folded(*other)), counter) == Counted(Usage(5, 3), UsageSource.UPSTREAM)


async def test_what_is_not_kept_is_an_estimate(counter: Counter) -> None:
    """Beyond the bound on kept text there are as many tokens a character as in what was kept."""
    partial = Partial(max_text=500)
    partial.add_content(0, "word " * 200)
    assert await counted(relay(partial), counter) == Counted(Usage(PROMPT, 202), UsageSource.ESTIMATE, O200K)


async def test_the_encoding_is_of_the_model_and_the_settings(counter: Counter) -> None:
    """The record says what was counted with: by the model's name, or a table's first pattern that fits."""
    partial = folded(event("Rain"))
    assert (await counted(relay(partial, model="gpt-4"), counter)).encoding == CL100K
    table = {"llama*": "/no/such/llama.json", "*": CL100K}
    assert (await counted(relay(partial, encoding=table), counter)).encoding == CL100K
    gone = await counted(relay(partial, model="llama-3", encoding=table), counter)
    assert (gone.source, gone.encoding) == (UsageSource.ESTIMATE, "llama.json")


async def test_what_is_not_worth_counting_is_not(counter: Counter) -> None:
    """Calls whose answers are not read have what the upstream said, or nothing."""
    assert await counted(relay(folded(event("Rain")), counts=False), counter) == Counted()
    said = folded(event("Rain"), event(usage={"completion_tokens": 9}, choice=None))
    assert await counted(relay(said, counts=False), counter) == Counted(Usage(None, 9), UsageSource.UPSTREAM)
