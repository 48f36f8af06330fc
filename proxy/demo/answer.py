"""Giving a planned answer: each token at its time, then the end, or the failure that was asked for."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.demo.calls import DemoCall, Ended
from proxy.demo.options import Failure
from proxy.demo.plan import Plan
from proxy.demo.shapes import Chat, usage

RETRY_AFTER_SECONDS = "1"


PromptCount: TypeAlias = Callable[[], Awaitable[int]]
"""Counts the tokens of the prompt; asked only where they are told."""


async def give(
    request: web.Request,
    transport: asyncio.Transport,
    plan: Plan,
    shape: Chat,
    call: DemoCall,
    prompt_tokens: PromptCount,
) -> web.StreamResponse:
    """Give the answer; `call` follows how far it came, and is ended when the answer is over.

    Raises:
        Refusal: a failure by status was asked for.
        asyncio.CancelledError, ConnectionError: the other side closed.
    """
    await asyncio.sleep(plan.options.first_token_after)
    failure = plan.options.fail
    if failure is not None and failure.how == "status":
        call.end(Ended.FAILED)
        raise _refusal(failure)
    if plan.stream:
        return await _stream(request, transport, plan, shape, call, prompt_tokens)
    return await _whole(request, transport, plan, shape, call, prompt_tokens)


async def _stream(
    request: web.Request,
    transport: asyncio.Transport,
    plan: Plan,
    shape: Chat,
    call: DemoCall,
    prompt_tokens: PromptCount,
) -> web.StreamResponse:
    """The answer as SSE."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Request-Id": call.id}
    )
    await response.prepare(request)
    for index in range(plan.choices):
        if opening := shape.opening(index):
            await response.write(opening)
    async for index, piece in _tokens(plan, call):
        await response.write(shape.piece(index, piece))
        call.tokens_sent += 1
    if plan.options.fail is not None:
        return await _break_off(response, transport, plan.options.fail, call, shape)
    for index in range(plan.choices):
        await response.write(shape.finish(index, plan.reason))
    if plan.with_usage:
        await response.write(shape.usage_chunk(usage(await prompt_tokens(), call.tokens_sent)))
    await response.write(shape.done)
    call.end(Ended.FINISHED)
    return response


async def _whole(
    request: web.Request,
    transport: asyncio.Transport,
    plan: Plan,
    shape: Chat,
    call: DemoCall,
    prompt_tokens: PromptCount,
) -> web.StreamResponse:
    """The answer as one JSON object, after the time that its tokens take."""
    async for _ in _tokens(plan, call):
        call.tokens_sent += 1
    if plan.options.fail is not None and plan.options.fail.how == "error_event":
        call.end(Ended.FAILED)
        raise _refusal(plan.options.fail)
    text = "".join(plan.pieces)
    choices = [shape.choice(index, text, plan.reason) for index in range(plan.choices)]
    body = json.dumps(shape.whole(choices, usage(await prompt_tokens(), plan.tokens))).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "X-Request-Id": call.id})
    response.content_length = len(body)
    if plan.options.fail is not None:
        if plan.options.fail.how == "truncate":
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        return await _break_off(response, transport, plan.options.fail, call, shape)
    await response.prepare(request)
    await response.write(body)
    call.end(Ended.FINISHED)
    return response


async def _tokens(plan: Plan, call: DemoCall) -> AsyncIterator[tuple[int, str]]:
    """Choice and text of each token, when it is due; up to the failure that was asked for.

    The times are counted from the first token, so that a late one does not delay those behind it.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    most = plan.tokens if plan.options.fail is None else plan.options.fail.after_tokens
    for step, piece in enumerate(plan.pieces):
        if call.tokens_sent >= most:
            return
        await asyncio.sleep(max(0.0, start + step / plan.options.per_second - loop.time()))
        for index in range(plan.choices):
            if call.tokens_sent < most:
                yield index, piece


async def _break_off(
    response: web.StreamResponse, transport: asyncio.Transport, failure: Failure, call: DemoCall, shape: Chat
) -> web.StreamResponse:
    """Fail an answer whose status can't be changed any more."""
    if failure.how == "hang":
        await asyncio.Event().wait()
    call.end(Ended.FAILED)
    if failure.how == "error_event":
        await response.write(shape.error(_refusal(failure)))
    elif failure.how == "reset":
        _reset(transport)
    else:
        transport.close()
    return response


def _reset(transport: asyncio.Transport) -> None:
    """Break a connection with RST."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _refusal(failure: Failure) -> Refusal:
    """The error answer of a failure that was asked for."""
    limited = failure.status == HTTPStatus.TOO_MANY_REQUESTS
    return Refusal(
        failure.status,
        "rate_limit_exceeded" if limited else "demo_failure",
        f"The demo upstream fails with status {failure.status}, as the request asked.",
        type="requests" if limited else "server_error",
        headers={"Retry-After": RETRY_AFTER_SECONDS} if limited else {},
    )
