"""The API's endpoints as functions of a request and the caller's desk. Source: OpenAI's API reference, Assistants v2.

A path with an id is this dialect's by the id's prefix: another dialect of the route may have threads of its own.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from proxy.core.errors import Refusal
from proxy.dialects.assistants import assistants, create, errors, messages, runs, steps, submit, threads
from proxy.dialects.assistants.ids import ASSISTANT, NAME, THREAD
from proxy.dialects.assistants.operations import OPERATIONS
from proxy.engine.dialect import AtOwner, Endpoint, Serve
from proxy.engine.plain import PlainReply

_FIXED: Final[Mapping[str, Mapping[str, Serve]]] = {
    "/assistants": {"GET": assistants.list_all, "POST": assistants.create},
    "/threads": {"POST": threads.create},
    "/threads/runs": {"POST": create.with_thread},
}


class Assistants:
    """The dialect `assistants`."""

    name: Final = NAME
    operations: Final = OPERATIONS

    def endpoint(self, method: str, rest: str) -> Endpoint | None:
        """The endpoints.

        Raises:
            Refusal: 405, one of them by another method.
        """
        serves = _FIXED.get(rest) or _with_ids(rest.split("/")[1:])
        if serves is None:
            return None
        if method not in serves:
            allowed = ", ".join(serves)
            raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})
        return serves[method]

    def refused(self, refusal: Refusal) -> PlainReply:
        """The API's error envelope."""
        return errors.refused(refusal)


def _with_ids(path: list[str]) -> Mapping[str, Serve | AtOwner] | None:
    """The endpoints of one object, by the path behind the route's."""
    match path:
        case ["assistants", assistant_id] if assistant_id.startswith(ASSISTANT):
            return {
                "GET": partial(assistants.read, assistant_id),
                "POST": partial(assistants.update, assistant_id),
                "DELETE": partial(assistants.delete, assistant_id),
            }
        case ["threads", thread_id] if thread_id.startswith(THREAD):
            return {
                "GET": partial(threads.read, thread_id),
                "POST": partial(threads.update, thread_id),
                "DELETE": AtOwner(thread_id, partial(threads.delete, thread_id), stops=True),
            }
        case ["threads", thread_id, "messages", *more] if thread_id.startswith(THREAD):
            return _messages(thread_id, more)
        case ["threads", thread_id, "runs", *more] if thread_id.startswith(THREAD):
            return _runs(thread_id, more)
    return None


def _messages(thread_id: str, path: list[str]) -> Mapping[str, Serve] | None:
    match path:
        case []:
            return {"GET": partial(messages.list_all, thread_id), "POST": partial(messages.create, thread_id)}
        case [message_id] if message_id:
            return {
                "GET": partial(messages.read, thread_id, message_id),
                "POST": partial(messages.update, thread_id, message_id),
                "DELETE": partial(messages.delete, thread_id, message_id),
            }
    return None


def _runs(thread_id: str, path: list[str]) -> Mapping[str, Serve | AtOwner] | None:
    match path:
        case []:
            return {"GET": partial(runs.list_all, thread_id), "POST": partial(create.in_thread, thread_id)}
        case [run_id, *more] if run_id:
            return _run(thread_id, run_id, more)
    return None


def _run(thread_id: str, run_id: str, path: list[str]) -> Mapping[str, Serve | AtOwner] | None:
    match path:
        case []:
            read = AtOwner(run_id, partial(runs.read, thread_id, run_id), looks=True)
            return {"GET": read, "POST": AtOwner(run_id, partial(runs.update, thread_id, run_id))}
        case ["cancel"]:
            return {
                "POST": AtOwner(
                    run_id,
                    partial(runs.cancel, thread_id, run_id),
                    partial(runs.unserved, thread_id, run_id),
                    stops=True,
                )
            }
        case ["submit_tool_outputs"]:
            return {"POST": partial(submit.submit, thread_id, run_id)}
        case ["steps"]:
            return {"GET": AtOwner(run_id, partial(steps.list_all, thread_id, run_id), looks=True)}
        case ["steps", step_id] if step_id:
            return {"GET": AtOwner(run_id, partial(steps.read, thread_id, run_id, step_id), looks=True)}
    return None
