"""The demo upstream's Gemini API: answers in Google's shape, at the length and with the failures that are asked for."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.demo.text import pieces
from proxy.demo.upstream import DemoUpstream, start_demo_upstream
from support.client import Answer, RawClient

FAST = "demo@tokens=5,per_second=10000"
ASK: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Say something nice"}]}]}
STREAM = f"/v1beta/models/{FAST}:streamGenerateContent?alt=sse"


@pytest.fixture
async def demo() -> AsyncIterator[DemoUpstream]:
    """A running demo upstream."""
    upstream = await start_demo_upstream("127.0.0.1", 0)
    yield upstream
    await upstream.stop()


async def post(demo: DemoUpstream, path: str, body: dict[str, Any]) -> Answer:
    """Ask once."""
    async with RawClient(demo.address.port) as client:
        await client.post(path, body)
        return await client.answer()


async def test_an_answer_is_streamed_token_by_token(demo: DemoUpstream) -> None:
    """One event a token, then the reason why it ended, then the counts; each names the answer, and none is [DONE]."""
    told = [json.loads(event[6:]) for event in (await post(demo, STREAM, ASK)).events]
    *said, finish, usage = told
    assert [each["candidates"][0]["content"]["parts"][0]["text"] for each in said] == pieces(5)
    assert finish["candidates"][0]["finishReason"] == "STOP"
    assert usage["usageMetadata"]["candidatesTokenCount"] == 5
    assert {each["responseId"] for each in told} == {demo.calls[0].id}
    assert {each["modelVersion"] for each in told} == {FAST}


async def test_an_answer_comes_whole_and_no_longer_than_asked(demo: DemoUpstream) -> None:
    """`generateContent` gives one object; `maxOutputTokens` cuts it, and the reason says so."""
    path = f"/v1beta/models/{FAST}:generateContent"
    answer = (await post(demo, path, {**ASK, "generationConfig": {"maxOutputTokens": 3}})).json()
    (candidate,) = answer["candidates"]
    assert candidate["content"]["parts"][0]["text"] == "".join(pieces(3))
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert answer["usageMetadata"]["candidatesTokenCount"] == 3


async def test_failures_have_googles_shape(demo: DemoUpstream) -> None:
    """A failure by status, one in the stream, and a bad request are Google's error objects."""
    fails = {**ASK, "demo": {"fail": {"how": "status", "status": 429}}}
    assert (await post(demo, STREAM, fails)).json()["error"]["code"] == 429
    broken = {**ASK, "demo": {"per_second": 10000, "fail": {"how": "error_event", "after_tokens": 2}}}
    assert json.loads((await post(demo, STREAM, broken)).events[-1][6:])["error"]["status"] == "INTERNAL"
    for path, body in ((STREAM.partition("?")[0], ASK), (STREAM, {**ASK, "contents": ["no"]})):
        refused = await post(demo, path, body)
        assert (refused.status, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
