"""The examination: every check in its order, each only where the ones before let it say something."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from proxy.cli.admin_client import AdminClient, CommandError, Exit
from proxy.cli.doctor.calls import Call, Calls
from proxy.cli.doctor.front import Front
from proxy.cli.doctor.leaving import keep_silent, leave, wait_until_known
from proxy.cli.doctor.reaching import DEMO, DEMO_STREAM, choose_model, reach
from proxy.cli.doctor.report import Finding, Report, Verdict
from proxy.cli.doctor.routes import Routes
from proxy.cli.doctor.seen import Record, Seen, SeenByAdmin, SeenThroughFront, Watch
from proxy.cli.doctor.stopping import stop_by_id
from proxy.cli.doctor.streaming import encoding, head, ids, pace

STEPS: Final = 6
"""What a progress bar counts."""

SILENT_FIRST: Final = f"{DEMO_STREAM},first_token_after=60s"
"""For leaving before the first byte."""

_FEW_EVENTS: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be examined. `wait` and `silence` are seconds; `route` is None where it is to be found out."""

    route: str | None
    model: str | None
    wait: float
    silence: float | None


@dataclass(frozen=True, slots=True)
class _Ways:
    """The kind of front, and the settings that say what a disconnect and a stop do; None: not known."""

    kind: str
    on_disconnect: str | None
    on_stop: str | None


@dataclass(slots=True)
class Examination:
    """One examination of a front, with the proxy's admin API or without."""

    front: Front
    client: AdminClient | None
    wanted: Wanted
    progress: Callable[[int, int], None]
    report: Report = field(default_factory=Report)
    _steps: int = 0

    def run(self) -> Report:
        """Make every check that can be made. No call is left running."""
        wait, routes = self.wanted.wait, self._routes()
        route = routes.chosen(self.wanted.route, self.front.prefix)
        self.report.about |= {"url": self.front.url, "route": route, "admin": self.client.url if self.client else None}
        self._step()
        found, kind, goes_on = reach(self.front, route, routes.paths, wait)
        self._found(*found)
        self._step()
        address = f"{self.front.prefix}{route}"
        if goes_on and (spoken := routes.other_dialects(address)):
            self._found(_another_dialect(spoken, routes))
        elif goes_on:
            model, missing = choose_model(self.front, route, self.wanted.model, wait)
            if missing is not None:
                self._found(missing)
            elif model is not None:
                self.report.about["model"] = model
                ways = _Ways(kind, routes.on_disconnect(address), routes.on_stop(address))
                self._examine_calls(Calls(self.front, route), model, ways)
        self.progress(STEPS, STEPS)
        return self.report

    def _examine_calls(self, calls: Calls, model: str, ways: _Ways) -> None:
        kind = ways.kind
        from_outside = SeenThroughFront(self.front, calls.route, self.wanted.wait)
        seen: Seen = from_outside if self.client is None else SeenByAdmin(self.client)
        try:
            call = calls.begin(model)
            wrong = head(call, seen, kind, self.wanted.wait)
            if call.find(seen) is None and self.client is not None and call.find(from_outside) is not None:
                self._tell_of_another_proxy(self.client)
                seen, self.client = from_outside, None
            if wrong is not None:
                self._found(wrong)
                if call.stream.is_over or call.known_as is None:
                    return
            else:
                self._watch(call, call.find(seen), seen, kind, is_demo=model.startswith(f"{DEMO}@"))
            self._step()
            self._found(stop_by_id(calls, call, seen, ways.on_stop, kind, self.wanted.wait))
            self._step()
            self._leave(calls, model, seen, ways)
            self._be_silent(calls, model, kind)
        finally:
            calls.end(seen, from_outside)

    def _watch(self, call: Call, record: Record | None, seen: Seen, kind: str, *, is_demo: bool) -> None:
        watch = Watch(self.client, record["message_id"]) if record is not None and self.client is not None else None
        self._found(ids(call, seen, kind), encoding(call, kind))
        self._found(pace(call, watch, kind, self.wanted.wait, is_demo=is_demo))

    def _leave(self, calls: Calls, model: str, seen: Seen, ways: _Ways) -> None:
        """One call that is left amid its answer, one before the first byte."""
        wait = self.wanted.wait
        amid = calls.begin(model)
        amid.stream.wait(lambda: len(amid.stream.event_times) >= _FEW_EVENTS or amid.stream.is_over, wait)
        self._found(leave("disconnect", amid, seen, ways.on_disconnect, ways.kind, wait))
        self._step()
        early = calls.begin(SILENT_FIRST if model == DEMO_STREAM else model)
        wait_until_known(early, seen, wait)
        self._found(leave("early disconnect", early, seen, ways.on_disconnect, ways.kind, wait))
        self._step()

    def _be_silent(self, calls: Calls, model: str, kind: str) -> None:
        silence = self.wanted.silence
        if silence is None:
            return
        if not model.startswith(f"{DEMO}@"):
            told = "only the demo upstream can be silent when it is asked to"
            self._found(Finding("silence", Verdict.SKIP, told, ["examine a route to it with --route"]))
            return
        call = calls.begin(f"{DEMO}@tokens=5,first_token_after={silence:g}s")
        self._found(keep_silent(call, silence, kind, self.wanted.wait))

    def _routes(self) -> Routes:
        """The proxy's routes, where its admin API tells them; where it does not, it is not used for anything."""
        if self.client is None:
            return Routes([], {})
        try:
            told = self.client.get("/config")
        except CommandError as error:
            verdict = Verdict.WARN if error.code is Exit.NOT_ALLOWED else Verdict.SKIP
            lines = ["only what can be told from outside is told; the proxy's own view would say more, and more surely"]
            self._found(Finding("admin", verdict, str(error), lines))
            self.client = None
            return Routes([], {})
        self._found(Finding("admin", Verdict.OK, f"the proxy's own view is had from {self.client.url}"))
        settings = told.get("settings", told)
        return Routes(settings.get("routes", ()), settings.get("upstreams", {}))

    def _tell_of_another_proxy(self, client: AdminClient) -> None:
        told = f"the proxy at {client.url} is not the one behind this front: it has not seen the call"
        self._found(Finding("admin", Verdict.WARN, told, ["--admin takes the admin listener of the right one"]))

    def _found(self, *findings: Finding) -> None:
        self.report.findings += findings

    def _step(self) -> None:
        self._steps += 1
        self.progress(min(self._steps, STEPS), STEPS)


def _another_dialect(spoken: list[str], routes: Routes) -> Finding:
    told = f"this route speaks {', '.join(spoken)}, and the calls here are OpenAI chat completions"
    serving = routes.serving
    line = f"examine {' or '.join(serving)} with --route: what passes there passes everywhere" if serving else ""
    return Finding("route", Verdict.FAIL, told, [line] if line else [], code=Exit.NOT_FOUND)
