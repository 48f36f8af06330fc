"""`POST /threads/{id}/runs/{id}/submit_tool_outputs`: the results of tools, with which a run goes on."""

from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.core.lifecycle import RunState
from proxy.dialects.assistants import frames, history
from proxy.dialects.assistants.errors import takes_no_outputs
from proxy.dialects.assistants.fields import Fields, read_fields
from proxy.dialects.assistants.generation import (
    Said,
    answer_of,
    body_of,
    left_of,
    over_limit,
    plan_of,
    started,
    worked_out,
)
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.live import LiveRun
from proxy.dialects.assistants.look import live_run, look
from proxy.dialects.assistants.translation import RunTranslation
from proxy.engine.dialect import Launch
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.translating.desk import Desk
from proxy.engine.translating.run import Run
from proxy.engine.translating.translation import Kept

MAX_OUTPUTS: Final = 512
MAX_CHARACTERS: Final = 4 * 2**20
"""Of all outputs of a run, in every round: each stays in memory, and goes up again, until the run is over."""


async def submit(thread_id: str, run_id: str, request: PlainRequest, desk: Desk) -> Plan | Launch | PlainReply:
    """Take the results of all tool calls that the run waits for, and let it go on.

    Raises:
        Refusal: 400, it waits for none, or not for these; 503, it waits at another replica; 404.
    """
    fields = await read_fields(request.body, desk)
    streams = bool(fields.flag("stream"))
    await desk.settle_run(thread_id)
    status = (await look(thread_id, run_id, desk))["status"]
    found = live_run(thread_id, run_id, desk)
    if found is None and status == "requires_action":  # what it has in memory is not in the store
        raise Refusal.overloaded(
            1, "run_elsewhere", "Another replica holds this run, and only that one can go on with it."
        )
    step = None if found is None else found[1].waiting_calls()
    if found is None or step is None or status != "requires_action":
        raise takes_no_outputs(status)
    run, live = found
    results = _with_results(step, _read_outputs(fields, step), desk.wall())
    rounds = live.rounds_with(results)
    _check_size(fields, rounds)
    newest_first = await history.load(thread_id, live.run, desk)
    size = history.size_of(newest_first) + len(request.body)
    room = left_of(live.run["max_prompt_tokens"], live.prompt_tokens)
    chat = await worked_out(size, lambda: history.fitting(live.run, newest_first, rounds, room))
    completion = left_of(live.run["max_completion_tokens"], live.completion_tokens)
    if run.state is not RunState.WAITING:  # it was stopped, or went on, while the thread was read
        raise takes_no_outputs((await look(thread_id, run_id, desk))["status"])
    if chat is None or (completion is not None and completion < 1):
        said = _end(run, live, results, "max_prompt_tokens" if chat is None else "max_completion_tokens", desk)
        await desk.leave_run(run)
        return said.reply(live, streams=streams)
    await desk.resume_run(thread_id, NAME)  # at once: it held its thread all the while
    desk.hold(run, live.size + history.characters(rounds))
    answer = answer_of(live, desk.wall())
    queued = {**live.run, "status": "queued", "required_action": None}
    kept = Kept(answer, items=(live.step_item(results), live.run_item(queued)))
    translation = RunTranslation(live, answer, results=results)
    body = await worked_out(size, lambda: body_of(live, chat, desk))
    user = request.user_header or run.user
    plan = plan_of(live, body, desk, run=run, kept=kept, translation=translation, user=user)
    return started(plan, queued, streams=streams)


def _end(run: Run, live: LiveRun, results: dict[str, Any], reason: str, desk: Desk) -> Said:
    """End a run whose bound of tokens is used up."""
    live.change_step(results["id"], **results)
    run.go(RunState.ENDED, desk.now())
    return over_limit(live, reason, desk.wall(), frames.step_event(results))


def _read_outputs(fields: Fields, step: dict[str, Any]) -> dict[str, str]:
    """The results by the ids of their calls.

    Raises:
        Refusal: 400, one is missing, or is of no call of the step.
    """
    wanted = [call["id"] for call in step["step_details"]["tool_calls"]]
    found: dict[str, str] = {}
    for item in fields.objects("tool_outputs", MAX_OUTPUTS) or []:
        call_id = item.needed("tool_call_id")
        if call_id not in wanted or call_id in found:
            raise item.wrong("tool_call_id", f"each of {', '.join(wanted)} once")
        found[call_id] = item.string("output", MAX_CHARACTERS) or ""
    if missing := [call_id for call_id in wanted if call_id not in found]:
        raise fields.wrong("tool_outputs", f"an output for each tool call of the run; missing: {', '.join(missing)}")
    return found


def _check_size(fields: Fields, rounds: history.Chat) -> None:
    """Make sure that the run's outputs, in all its rounds, are not too large.

    Raises:
        Refusal: 400, they are.
    """
    size = sum(len(turn["content"]) for turn in rounds if turn["role"] == "tool")
    if size > MAX_CHARACTERS:
        expected = f"at most {MAX_CHARACTERS} characters in all outputs of the run; with these there are {size}"
        raise fields.wrong("tool_outputs", expected)


def _with_results(step: dict[str, Any], outputs: dict[str, str], now: float) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "output": outputs[call["id"]]}}
        for call in step["step_details"]["tool_calls"]
    ]
    details = {"type": "tool_calls", "tool_calls": calls}
    return {**step, "status": "completed", "completed_at": int(now), "step_details": details}
