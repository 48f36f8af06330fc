"""Tests of proxy.wire.chat_request: what a translated dialect asks of its upstream."""

import json
from typing import Any

import pytest

from proxy.core.usage import UsageAsk
from proxy.wire.chat_request import chat_request


@pytest.mark.parametrize(
    ("asks", "options"),
    [
        (UsageAsk.NOTHING, None),
        (UsageAsk.FINAL, {"include_usage": True}),
        (UsageAsk.RUNNING, {"include_usage": True, "continuous_usage_stats": True}),
    ],
)
def test_a_request_asks_for_what_its_upstream_takes(asks: UsageAsk, options: Any) -> None:
    """A stream, with the usage that the upstream is known to give; what is None is left out."""
    made = json.loads(chat_request("m", [{"role": "user", "content": "\ud800"}], asks_usage=asks, user=None, n=1))
    expected = {"model": "m", "messages": [{"role": "user", "content": "\ud800"}], "stream": True, "n": 1}
    assert made == expected | ({} if options is None else {"stream_options": options})
