"""What an upstream is asked for counting, and that clients see nothing of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, ask, chat_events, text, usage_object
from support.client import Answer
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import in_turn, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, call, record, settled
from support.upstream import Conn, ScriptedUpstream, scripted_upstream

FINAL = {"include_usage": True}
RUNNING = {**FINAL, "continuous_usage_stats": True}
WITH_USAGE = {**STREAM, "stream_options": FINAL}
WITH_RUNNING = {**STREAM, "stream_options": RUNNING}


def asked(up: ScriptedUpstream, index: int) -> Any:
    """The stream options that the upstream got."""
    return json.loads(up.requests[index].body).get("stream_options")


async def streamed(proxy: RunningProxy, task_id: str, body: Any = STREAM) -> Answer:
    """One streamed call to its end."""
    answer = await call(proxy, "POST", CHAT, body, X_Task_Id=task_id)
    await settled(proxy)
    return answer


async def test_usage_auto_asks_what_was_seen_to_work(tmp_path: Path) -> None:
    """An unknown upstream is not asked for usage until a client's own question was answered; then it is, unseen."""
    plain, counted = chat_events(3), chat_events(3, usage=True)
    script = in_turn(sse_stream(plain), sse_stream(plain), sse_stream(counted))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        assert (await streamed(proxy, "t-0")).events == plain
        await streamed(proxy, "t-1", WITH_USAGE)
        assert (await streamed(proxy, "t-2", WITH_USAGE)).events == counted
        assert (await streamed(proxy, "t-3")).events == plain
        assert (await streamed(proxy, "t-4", {**STREAM, "stream_options": {"include_usage": False}})).events == plain
        await call(proxy, "POST", CHAT, PLAIN)
        records = [await record(proxy, f"t-{number}") for number in range(5)]
    yes = {"include_usage": True}
    assert [asked(up, index) for index in range(6)] == [None, yes, yes, yes, yes, None]
    assert [one["usage_source"] for one in records] == ["tokenizer", "tokenizer", "upstream", "upstream", "upstream"]


async def test_usage_that_nobody_asked_for_proves_nothing(tmp_path: Path) -> None:
    """An upstream that sends its usage unasked may still refuse to be asked, so it is not; its chunk goes by."""
    counted = chat_events(3, usage=True)
    async with (
        scripted_upstream(sse_stream(counted)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for number in range(2):
            assert (await streamed(proxy, f"t-{number}")).events == counted
            assert (await record(proxy, f"t-{number}"))["usage_source"] == "upstream"
    assert [asked(up, index) for index in range(2)] == [None, None]


@pytest.mark.parametrize(("usage", "asks"), [("final", {"include_usage": True}), ("none", None)])
async def test_usage_as_configured(tmp_path: Path, usage: str, asks: Any) -> None:
    """With `final` every stream is asked for its usage, with `none` none is; the client's stream is the same."""
    script = sse_stream(chat_events(3, usage=usage == "final"))
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": usage}), tmp_path) as proxy,
    ):
        assert (await streamed(proxy, "t-0")).events == chat_events(3)
        kept = await record(proxy, "t-0")
    assert asked(up, 0) == asks
    assert kept["usage_source"] == ("upstream" if usage == "final" else "tokenizer")
    assert kept["completion_tokens"]


async def test_the_own_question_is_left_alone(tmp_path: Path) -> None:
    """A client that asks for usage by itself gets its answer byte for byte, also where nothing is asked for us."""
    counted = chat_events(3, usage=True)
    body = json.dumps({**ask(), "stream_options": {"include_usage": True, "own": 1}}, indent=3).encode()
    async with (
        scripted_upstream(sse_stream(counted)) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": "none"}), tmp_path) as proxy,
    ):
        answer = await streamed(proxy, "t-0", body)
    assert up.requests[0].body == body
    assert answer.events == counted
    assert answer.events[-1] == DONE
    assert json.loads(answer.events[-2].removeprefix(b"data: "))["usage"] == usage_object(7, 3)


async def as_asked(conn: Conn) -> None:
    """A server that sends what it is asked for, as vLLM does."""
    options = json.loads(conn.request.body).get("stream_options") or {}
    running, usage = (options.get(key, False) for key in ("continuous_usage_stats", "include_usage"))
    await sse_stream(chat_events(3, running=running, usage=usage))(conn)


async def test_running_totals_are_asked_for_and_taken_out(tmp_path: Path) -> None:
    """With `continuous` every stream is asked for running totals; clients get of them what they asked for."""
    config = {"usage": "continuous"}
    async with (
        scripted_upstream(as_asked) as up,
        running_proxy(config_text(up.base_url, upstream=config), tmp_path) as proxy,
    ):
        assert (await streamed(proxy, "t-0")).events == chat_events(3)
        assert (await streamed(proxy, "t-1", WITH_RUNNING)).events == chat_events(3, running=True, usage=True)
        with_usage = (await streamed(proxy, "t-2", WITH_USAGE)).events
        records = [await record(proxy, f"t-{number}") for number in range(3)]
    assert [asked(up, index) for index in range(3)] == [RUNNING] * 3
    assert [one["usage_source"] for one in records] == ["upstream"] * 3
    plain = chat_events(3, usage=True)
    assert with_usage[-2:] == plain[-2:]
    for said, usual in zip(with_usage[:-2], plain[:-2], strict=True):
        assert said == usual.replace(b"}\n\n", b',"usage":null}\n\n')


async def test_running_totals_are_learned_from_clients(tmp_path: Path) -> None:
    """An unknown upstream is asked for running totals once a client's own question for them was answered."""
    async with (
        scripted_upstream(as_asked) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for body in (STREAM, WITH_USAGE, STREAM, WITH_RUNNING, STREAM):
            await streamed(proxy, "t-0", body)
        assert (await streamed(proxy, "t-1")).events == chat_events(3)
    assert [asked(up, index) for index in range(6)] == [None, FINAL, FINAL, RUNNING, RUNNING, RUNNING]


def refusing(*words: str, status: int = 400, detail: bool = False) -> Any:
    """A server that refuses calls whose body has one of these words, and says which one."""

    async def script(conn: Conn) -> None:
        found = next((word for word in words if word.encode() in conn.request.body), None)
        if found is None:
            await as_asked(conn)
        elif detail:
            await json_answer({"detail": [{"loc": ["body", found], "msg": "Extra inputs are not permitted"}]}, status)(
                conn
            )
        else:
            await json_answer({"error": {"message": f"Unknown parameter: '{found}'.", "param": found}}, status)(conn)

    return script


@pytest.mark.parametrize(("status", "detail"), [(400, False), (422, True)])
async def test_what_an_upstream_refuses_is_not_asked_again(
    tmp_path: Path, status: int, detail: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal that names what was added ends the asking, step by step, and is logged once for each step."""
    script = refusing("continuous_usage_stats", "stream_options", status=status, detail=detail)
    config = {"usage": "continuous"}
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, upstream=config), tmp_path) as proxy,
    ):
        statuses = [(await streamed(proxy, f"t-{number}")).status for number in range(5)]
    assert statuses == [status, status, 200, 200, 200]
    assert [asked(up, index) for index in range(5)] == [RUNNING, FINAL, None, None, None]
    assert capsys.readouterr().out.count("upstream.refuses_usage") == 2


async def test_refusals_at_once_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls that were on their way when the first one was refused tell nothing new, and are not logged."""
    async with (
        scripted_upstream(refusing("stream_options")) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": "final"}), tmp_path) as proxy,
    ):
        answers = await asyncio.gather(*(call(proxy, "POST", CHAT, STREAM) for _ in range(5)))
        await settled(proxy)
        assert (await streamed(proxy, "t-0")).events == chat_events(3)
    assert {answer.status for answer in answers} <= {200, 400}
    assert capsys.readouterr().out.count("upstream.refuses_usage") == 1


async def test_refusals_without_a_reason_count_only_in_a_row(tmp_path: Path) -> None:
    """Three refusals that don't say why end the asking, where it never worked; a client's own fault ends nothing."""
    refusal = json_answer({"error": {"message": "Bad request"}}, 400)
    plain = sse_stream(chat_events(3))
    script = in_turn(refusal, refusal, plain, refusal, refusal, refusal, plain)
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": "final"}), tmp_path) as proxy,
    ):
        for number in range(7):
            await streamed(proxy, f"t-{number}")
    assert [asked(up, index) for index in range(7)] == [FINAL] * 6 + [None]


async def test_a_clients_own_fault_does_not_end_the_asking(tmp_path: Path) -> None:
    """Where asking is known to work, a refusal is about something else unless it says so."""
    refusal = json_answer({"error": {"message": "Bad request"}}, 400)
    script = in_turn(sse_stream(chat_events(3, usage=True)), refusal)
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for number, body in enumerate((WITH_USAGE, STREAM, STREAM, STREAM, STREAM, STREAM)):
            await streamed(proxy, f"t-{number}", body)
    assert [asked(up, index) for index in range(6)] == [FINAL] * 6


async def test_a_folded_answer_is_asked_for_what_the_upstream_takes(tmp_path: Path) -> None:
    """A call that is folded has its usage; where even that is refused, it is asked for nothing."""
    async with (
        scripted_upstream(refusing("stream_options")) as up,
        running_proxy(
            config_text(up.base_url, upstream={"usage": "continuous"}, route={"blocking": "stream"}), tmp_path
        ) as proxy,
    ):
        first = await call(proxy, "POST", CHAT, PLAIN)
        await settled(proxy)
        second = await call(proxy, "POST", CHAT, PLAIN)
        up.script = as_asked
    assert (first.status, second.status) == (400, 200)
    assert second.json()["choices"][0]["message"]["content"] == text(3)
    assert [asked(up, index) for index in range(2)] == [RUNNING, None]


async def test_a_folded_answer_has_the_last_total(tmp_path: Path) -> None:
    """Running totals of a folded call become the usage of its answer."""
    async with (
        scripted_upstream(as_asked) as up,
        running_proxy(
            config_text(up.base_url, upstream={"usage": "continuous"}, route={"blocking": "stream"}), tmp_path
        ) as proxy,
    ):
        answer = await call(proxy, "POST", CHAT, PLAIN)
    assert asked(up, 0) == RUNNING
    assert answer.json()["usage"] == usage_object(7, 3)
