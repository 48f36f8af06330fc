"""The demo upstream: an OpenAI-compatible server without a model, that reports when it saw each close.

It serves chat completions, completions and Gemini's calls, streamed and whole, at the speed and with the failures that
a request asks for (see `proxy.demo.options`). Its usage is what a provider would say, tokens between messages
included. What it saw of its calls is at `/demo/calls`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from proxy.core.encodings import AUTO, encoding_for
from proxy.core.errors import Refusal, openai_error_body
from proxy.core.settings.scalar_types import Address
from proxy.demo.answer import PromptCount, give
from proxy.demo.calls import Calls, DemoCall, Ended
from proxy.demo.gemini import BASE as GEMINI_BASE
from proxy.demo.gemini import Gemini, as_chat
from proxy.demo.gemini import error_body as gemini_error_body
from proxy.demo.plan import Plan, read_plan
from proxy.demo.shapes import Chat, Completion, ToolCall
from proxy.engine.settling.counting import Counter

MODEL = "demo"
"""The one model that is listed; every name is answered."""

_GEMINI = GEMINI_BASE + "/models/{model}:{call:(?:streamG|g)enerateContent}"

LARGEST_BODY = 20 * 2**20

STOP_SECONDS = 1.0
"""How long a stop waits for handlers whose connections it has just closed."""


class DemoUpstream:
    """A running demo upstream; made by `start_demo_upstream`."""

    def __init__(self, on_close: Callable[[DemoCall], None] | None) -> None:
        self._calls = Calls(on_close)
        self._counter = Counter()
        self._open: dict[str, asyncio.Transport] = {}
        self._address = Address("", 0)
        app = web.Application(middlewares=[_errors_in_shape], client_max_size=LARGEST_BODY)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._completion),
                web.post(_GEMINI, self._gemini),
                web.get("/v1/models", _models),
                web.get("/v1/models/{id}", _model),
                web.get("/demo/calls", self._list),
                web.get("/demo/calls/{id}", self._find),
            ]
        )
        # without handler_cancellation a close would be noticed at the next write only
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=STOP_SECONDS)

    @property
    def base_url(self) -> str:
        """What an upstream's `base_url` is set to."""
        return f"http://{self._address}/v1"

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._address

    @property
    def calls(self) -> list[DemoCall]:
        """The calls that it remembers, newest first."""
        return list(self._calls)

    def seen(self, call_id: str) -> dict[str, Any] | None:
        """What it saw of one call: whether the other side closed it, and how many tokens it sent of how many."""
        call = self._calls.find(call_id)
        if call is None:
            return None
        return {"closed": call.ended is Ended.CLOSED, "tokens_sent": call.tokens_sent, "of": call.of}

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address can't be used.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            await self._counter.aclose()
            raise
        self._address = Address(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        """Close every connection and the listener, and wait until the handlers are gone."""
        for call_id, transport in self._open.items():
            if call := self._calls.find(call_id):
                call.end(Ended.STOPPED)
            transport.abort()
        await self._runner.cleanup()
        await self._counter.aclose()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        plan, prompt_tokens = self._asked(await request.read())
        call = self._calls.begin(Chat.prefix, request.path, plan.tokens, stream=plan.stream)
        head = call.id, plan.model, int(time.time()), plan.with_usage
        shape = ToolCall(*head, plan.tool) if plan.tool else Chat(*head)
        return await self._answer(request, plan, shape, call, prompt_tokens)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        plan, prompt_tokens = self._asked(await request.read())
        call = self._calls.begin(Completion.prefix, request.path, plan.tokens, stream=plan.stream)
        shape = Completion(call.id, plan.model, int(time.time()), plan.with_usage)
        return await self._answer(request, plan, shape, call, prompt_tokens)

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        plan, prompt_tokens = self._asked(await as_chat(request))
        call = self._calls.begin(Gemini.prefix, request.path, plan.tokens, stream=plan.stream)
        shape = Gemini(call.id, plan.model, int(time.time()), plan.with_usage)
        return await self._answer(request, plan, shape, call, prompt_tokens)

    def _asked(self, raw: bytes) -> tuple[Plan, PromptCount]:
        """The answer as planned, and what counts the prompt."""
        plan = read_plan(raw)

        async def prompt_tokens() -> int:
            tokens, _ = await self._counter.count_prompt(raw, encoding_for(plan.model, AUTO))
            return tokens or 0

        return plan, prompt_tokens

    async def _answer(
        self, request: web.Request, plan: Plan, shape: Chat, call: DemoCall, prompt_tokens: PromptCount
    ) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            self._calls.closed(call)
            return web.Response()
        self._open[call.id] = transport
        try:
            return await give(request, transport, plan, shape, call, prompt_tokens)
        except asyncio.CancelledError:
            self._calls.closed(call)
            raise
        except ConnectionError:
            self._calls.closed(call)
            return web.Response()
        finally:
            del self._open[call.id]

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response([call.as_json() for call in self._calls])

    async def _find(self, request: web.Request) -> web.Response:
        call = self._calls.find(request.match_info["id"])
        if call is None:
            raise Refusal.not_found()
        return web.json_response(call.as_json())


async def start_demo_upstream(host: str, port: int, on_close: Callable[[DemoCall], None] | None = None) -> DemoUpstream:
    """Start a demo upstream; port 0 lets the system choose one.

    `on_close` is called for each call that the other side closed before its end, as soon as that was seen;
    `str(call)` says it in words.

    Raises:
        OSError: the address can't be used.
    """
    upstream = DemoUpstream(on_close)
    await upstream.start(host, port)
    return upstream


@web.middleware
async def _errors_in_shape(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error in the shape of its API."""
    try:
        return await handler(request)
    except Refusal as error:
        refusal = error
    except web.HTTPRequestEntityTooLarge:
        refusal = Refusal.too_large(LARGEST_BODY)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        refusal = Refusal.not_found()
    is_gemini = request.path.startswith(f"{GEMINI_BASE}/")
    return web.Response(
        status=refusal.status,
        body=gemini_error_body(refusal) if is_gemini else openai_error_body(refusal),
        content_type="application/json",
        headers=refusal.headers,
    )


def _model_object(name: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "quell"}


async def _models(_request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_model_object(MODEL)]})


async def _model(request: web.Request) -> web.Response:
    return web.json_response(_model_object(request.match_info["id"]))
