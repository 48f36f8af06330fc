"""Prometheus: what is shipped for it is read by its own tools, and a real one scrapes a real proxy under load."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.core.errors import UpstreamErrorKind
from proxy.core.typical import ENOUGH
from proxy.engine.telemetry.metrics import Metrics
from support.chat import chat_events, chat_object
from support.client import RawClient
from support.dashboard import as_queried, expressions
from support.deploy_files import DEPLOY
from support.program import Program, config_text, running_program
from support.prometheus import FOLDER, Prometheus, promtool, running_prometheus
from support.scripts import SSE, answer, events_then_hang, json_answer
from support.stops import CHAT, PLAIN, STREAM
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
TYPICAL = 100
PRICES = """
version: "1"
currency: USD
models: {scripted: {input: "0.15", output: "0.60"}}
"""
BUDGETS = [{"per": "user", "window": "1d", "completion_tokens": 1_000_000_000}]
LONG = 30.0
"""Seconds for a machine that has a dozen other tests to do."""


def rules() -> list[dict[str, Any]]:
    """The alert rules that are shipped."""
    (group,) = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return list(group["rules"])


def test_rules_have_no_findings() -> None:
    """Prometheus' own tool takes every rule."""
    assert promtool("check", "rules", "rules.yml") == ""


def test_each_rule_fires_when_it_should_and_not_before() -> None:
    """The unit tests of the rules pass; each rule has one in which it fires, and is silent on a healthy proxy."""
    assert promtool("test", "rules", "rules_test.yml") == ""
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    checks = [check for each in tests for check in each["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == names
    for healthy in tests[:2]:
        assert {check["alertname"] for check in healthy["alert_rule_test"]} == names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Severity, summary, a description with a number, and an address that leads to a paragraph of the runbooks."""
    said = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert said["summary"]
    assert re.search(r"\d|\{\{ \$value", said["description"])
    file, _, anchor = said["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    text = (DEPLOY.parent / file).read_text()
    found = re.search(rf"^## {rule['alert']}\n\n(.+?)\n(?=\n## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found
    assert "\n\n" not in found[1], "a runbook is one paragraph"
    assert len(found[1]) > 200


def test_every_runbook_has_its_alert() -> None:
    """No paragraph is about an alert that there is not."""
    headings = re.findall(r"^## (\w+)$", (DEPLOY / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]


def test_upstream_errors_are_all_of_the_upstreams_kinds() -> None:
    """The alert on upstreams counts every way in which one fails, and neither refusals nor what is our own fault."""
    (expression,) = (rule["expr"] for rule in rules() if rule["alert"] == "QuellUpstreamErrors")
    kinds = set(re.findall(r'kind=~"([^"]+)"', expression)[0].split("|"))
    assert kinds - set(UpstreamErrorKind) == {"upstream_error", "upstream_bad_answer", "answer_too_large"}
    assert set(UpstreamErrorKind) <= kinds


def test_only_metrics_that_there_are_are_asked_for() -> None:
    """Rules and dashboard name no metric that the proxy does not have."""
    names = {name for names in Metrics().registry._collector_to_names.values() for name in names}
    asked = [rule["expr"] for rule in rules()] + [each.expression for each in expressions()]
    for expression in asked:
        assert set(re.findall(r"\bquell_\w+", expression)) <= names, expression


def scrape_configs() -> list[str]:
    """The scrape config as it is shipped, and with each of the other ways in it uncommented in its place."""
    text = (FOLDER / "prometheus.yml").read_text()
    head, _, jobs = text.partition("scrape_configs:\n")
    ways = [re.sub(r"^  # ", "  ", way, flags=re.MULTILINE) for way in jobs.split("\n\n")]
    return [f"{head}scrape_configs:\n{way[way.index('  - job_name') :]}\n" for way in ways]


def test_scrape_config_is_valid_in_each_of_its_ways(tmp_path: Path) -> None:
    """The config has no findings as it is, for workers, and for replicas; the job has the name that rules ask for."""
    assert promtool("check", "config", "prometheus.yml") == ""
    (tmp_path / "rules.yml").write_text((FOLDER / "rules.yml").read_text())
    configs = scrape_configs()
    assert len(configs) == 3
    for number, text in enumerate(configs):
        (tmp_path / f"{number}.yml").write_text(text)
        assert promtool("check", "config", f"{number}.yml", folder=tmp_path) == ""
        assert [job["job_name"] for job in yaml.safe_load(text)["scrape_configs"]] == ["quell"]


async def script(conn: Conn) -> None:
    """An upstream that breaks, refuses, answers whole, or says eight words and hangs, as the model's name asks."""
    body = conn.request.body
    if b"broken" in body:
        conn.reset()
        await conn.sleep_until_closed()
    elif b"refused" in body:
        await answer(429, b"{}")(conn)
    elif b"slow" in body:
        await conn.head(200, SSE)
        for event in chat_events(20, usage=True):
            await conn.pause(0.05)
            await conn.chunk(event)
        await conn.end()
    elif b'"stream": true' in body:
        await events_then_hang(SAID)(conn)
    else:
        await json_answer(chat_object(TYPICAL))(conn)


async def work(program: Program, model: str, *, stops: bool) -> None:
    """Call the proxy again and again; where it `stops`, each stream is stopped behind what is said."""
    number = 0
    while True:
        number += 1
        task = f"{model}-{'stopped' if stops else 'whole'}-{number}"
        body = {**(STREAM if stops or model == "slow" else PLAIN), "model": model, "max_tokens": 500}
        async with RawClient(program.port) as client:
            await client.post(CHAT, body, [("X-Task-Id", task)])
            if stops:
                await client.until(b"data:", len(SAID))
                async with RawClient(program.port) as other:
                    await other.post(f"/v1/generations/{task}/cancel")
                    await other.answer()
            await client.answer()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def load(program: Program) -> AsyncIterator[None]:
    """Keep the proxy busy in every way that the dashboard tells of."""
    async with RawClient(program.port) as client:
        for _ in range(ENOUGH):
            await client.post(CHAT, PLAIN)
            await client.answer()
    async with asyncio.TaskGroup() as group:
        ways = [("scripted", True), ("scripted", False), ("slow", False), ("broken", False), ("refused", False)]
        tasks = [group.create_task(work(program, model, stops=stops)) for model, stops in ways]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def test_a_real_prometheus(tmp_path: Path) -> None:
    """Under load each expression of the dashboard gives data, each rule is taken, and the metrics have no findings."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with scripted_upstream(script) as up:
        config = config_text(
            up.base_url, upstream={"bills_after_close": "no"}, prices={"file": "prices.yaml"}, budgets=BUDGETS
        )
        async with (
            running_program(config, tmp_path) as program,
            running_prometheus(program.admin_port, tmp_path) as prometheus,
        ):
            async with load(program):
                await eventually(lambda: scraped(prometheus), LONG, "the proxy is scraped")
                for each in expressions():
                    asked = as_queried(each.expression)
                    await eventually(partial(prometheus.query, asked), LONG, f"{each.panel}: {asked}")
            taken = await eventually(prometheus.rules, LONG, "the rules are looked at")
            assert {rule["name"]: rule["health"] for rule in taken} == {rule["alert"]: "ok" for rule in rules()}
            assert not [rule["name"] for rule in taken if rule["state"] == "firing"]
            async with RawClient(program.admin_port) as client:
                await client.get("/metrics")
                metrics = (await client.answer()).body
    assert promtool("check", "metrics", given=metrics) == ""


async def scraped(prometheus: Prometheus) -> bool:
    """Whether the proxy was reached."""
    return [value for _, value in await prometheus.query('up{job="quell"}')] == [1.0]
