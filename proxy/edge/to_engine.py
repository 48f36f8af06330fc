"""How a request is put to the engine: who asks, its body, its plan, and the call of the upstream."""

import asyncio
from functools import partial

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.headers import HeaderPair, check_value, upstream_headers, valid_task_id
from proxy.core.paths import join
from proxy.edge.asked_limits import asked_limits
from proxy.edge.intake import read_body
from proxy.edge.request import Request, single_header
from proxy.edge.runtime import Runtime, Served
from proxy.edge.translated import call_headers
from proxy.engine.admission import Admission, Asker
from proxy.engine.dialect import PlanMaker
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.plan import Call, Plan
from proxy.engine.translating.desk import LARGE_BODY


def asker_of(request: Request, runtime: Runtime) -> Asker:
    """Who asks, under which id, and within which limits.

    Raises:
        Refusal: 400, a header of ours can't be understood.
    """
    caller = request.caller
    limits = asked_limits(request.http)
    return Asker(caller.identity, _chosen_id(request.http), runtime.settings.limits.streams, caller.most, limits)


async def body_of(request: Request, runtime: Runtime) -> bytes:
    """The body, within the limits of the settings.

    Raises:
        Refusal: see `read_body`.
    """
    limits = runtime.settings.limits
    return await read_body(request.http, limits.body, limits.body_deadline)


def plain_of(request: Request, body: bytes) -> PlainRequest:
    """The request as dialects know it.

    Raises:
        Refusal: 400, the end user's header can't be used.
    """
    http = request.http
    user = single_header(http, "X-User-Id")
    return PlainRequest(
        method=http.method,
        rest=request.rest,
        query=request.query,
        content_type=http.content_type.lower(),
        body=body,
        user_header=None if user is None else check_value("X-User-Id", user),
    )


async def plan_of(make: PlanMaker, plain: PlainRequest, served: Served) -> Plan:
    """The plan of a passed-through call; made in a thread where that takes long."""
    upstream = served.upstream
    make_it = partial(
        make,
        plain,
        served.route,
        asks_usage=upstream.usage.level,
        forbids_usage=upstream.usage.forbidden,
    )
    return make_it() if len(plain.body) < LARGE_BODY else await asyncio.to_thread(make_it)


def admission_of(request: Request, runtime: Runtime, asker: Asker, plan: Plan) -> Admission:
    """What is to be admitted: the plan, with the call of the upstream that carries it out."""
    served, limits = request.served, runtime.settings.limits
    if plan.translation is None:
        method, headers = request.http.method, headers_up(request, runtime, identity_encoding=True)
    else:
        method, headers = "POST", call_headers(request, runtime.addresses)
    url = join(served.upstream.settings.base_url, plan.path, plan.query)
    return Admission(
        asker=asker,
        plan=plan,
        call=Call(method, url, headers, plan.body),
        rules=served.rules,
        upstream=served.upstream,
        tags=served.route.tags,
        partial_text=limits.partial_text,
        text=runtime.settings.ledger.text,
        tape=limits.tape,
    )


def headers_up(request: Request, runtime: Runtime, *, identity_encoding: bool) -> list[HeaderPair]:
    """The headers of a request that is passed through, as the upstream gets them."""
    client = runtime.addresses.of(request.http)
    return upstream_headers(
        request.headers,
        host=request.served.host,
        credentials=request.served.credentials,
        forwarded=client.forwarded,
        identity_encoding=identity_encoding,
    )


def _chosen_id(http: web.BaseRequest) -> str | None:
    chosen = single_header(http, "X-Task-Id")
    if chosen is not None and not valid_task_id(chosen):
        message = "X-Task-Id takes 1 to 128 of the characters A-Z a-z 0-9 . _ : - (and not '.' or '..' alone)."
        raise Refusal.bad_request("invalid_task_id", message, "X-Task-Id")
    return chosen
