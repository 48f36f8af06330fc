"""`quell check`: is this config file valid, and which route takes a request? Nothing is started or called."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from proxy.cli.explain import Explanation, explain
from proxy.config_file import Loaded, Problem, load
from proxy.core.bus_address import parse_bus_url
from proxy.core.ledger_address import parse_ledger_address
from proxy.core.settings.settings import Settings
from proxy.core.settings.urls import without_credentials
from proxy.engine.limits.budgets import budget_of
from proxy.engine.settling.genai_fallback import NOT_INSTALLED, is_installed


def _request_line(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, str] | None:
    if value is None:
        return None
    method, _, path = value.strip().partition(" ")
    path = path.strip().partition("?")[0]
    if not method.isalpha() or not path.startswith("/") or " " in path:
        raise click.BadParameter("expected a method and a path, such as 'POST /v1/chat/completions'")
    return method.upper(), path


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--explain", "request", metavar="'METHOD PATH'", callback=_request_line, help="Say where a request goes.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.pass_context
def check(ctx: click.Context, file: Path, request: tuple[str, str] | None, form: Literal["text", "json"]) -> None:
    """Validate the config FILE offline: every error at once. Exit code 0: valid, 1: invalid."""
    loaded = load(file, os.environ)
    refusals = _refusals(loaded.settings) if loaded.settings else []
    explanation = explain(loaded.settings, loaded.positions, *request) if loaded.settings and request else None
    if form == "json":
        click.echo(json.dumps(_as_json(loaded, refusals, explanation), indent=2, ensure_ascii=False))
    else:
        _print(file, loaded, refusals, explanation)
    ctx.exit(0 if loaded.settings else 1)


def _refusals(settings: Settings) -> list[str]:
    """What is valid, and yet not served here."""
    lacks_package = settings.prices.fallback == "genai-prices" and not is_installed()
    return [NOT_INSTALLED] if lacks_package else []


def _as_json(loaded: Loaded, refusals: list[str], explanation: Explanation | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "valid": loaded.settings is not None,
        "problems": [asdict(problem) for problem in loaded.problems],
        "warnings": [asdict(warning) for warning in loaded.warnings],
        "serve_will_refuse": refusals,
    }
    return {**answer, "explain": asdict(explanation)} if explanation else answer


def _print(file: Path, loaded: Loaded, refusals: list[str], explanation: Explanation | None) -> None:
    for problem in loaded.problems:
        click.echo(str(problem))
    if loaded.settings is None:
        return
    for warning in loaded.warnings:
        click.echo(_warning(warning))
    for refusal in refusals:
        click.echo(f"{file}: warning: serve will refuse: {refusal}")
    lines = explanation.lines() if explanation else [f"{file}: valid", *_summary(loaded.settings)]
    for line in lines:
        click.echo(line)


def _warning(warning: Problem) -> str:
    return f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.message}"


def _summary(settings: Settings) -> list[str]:
    lines = [f"  listen  {settings.listen}", f"  admin   {settings.admin.listen}"]
    tokens = [f"{each.name} ({each.role}{', sees texts' if each.text else ''})" for each in settings.admin.tokens]
    lines += [f"  tokens  {', '.join(tokens)}"] if tokens else []
    for route in settings.routes:
        target = settings.upstreams[route.upstream].base_url
        lines.append(f"  route   {route.path} ({', '.join(route.dialects)}) -> {route.upstream} ({target})")
    if settings.ledger.is_shared:
        address = parse_ledger_address(settings.ledger.url)
        lines.append(f"  ledger  PostgreSQL at {address.place}, by way of {settings.ledger.spool}")
    if settings.bus.url is not None:
        lines.append(f"  bus     {parse_bus_url(settings.bus.url).place}")
    if settings.bus.url is not None or settings.ledger.is_shared:
        name = "auto: a name of its own at each start" if settings.replica == "auto" else settings.replica
        lines.append(f"  replica {name}")
    keys = f"{len(settings.keys)} ({', '.join(key.id for key in settings.keys)})" if settings.keys else "none"
    table, fallback = settings.prices.table, settings.prices.fallback
    prices = [] if table is None else [f"{table.version} ({len(table.entries)} entries, {table.currency})"]
    prices += [] if fallback == "none" else [fallback]
    lines += [f"  keys    {keys}", *([f"  prices  {', then '.join(prices)}"] if prices else [])]
    for budget in map(budget_of, settings.budgets):
        lines.append(f"  budget  {', '.join(budget.says(limit) for limit in budget.limited)}")
    lines += _limits(settings)
    sink = settings.sink.url
    return lines if sink is None else [*lines, f"  sink    {without_credentials(sink)}"]


def _limits(settings: Settings) -> list[str]:
    """How limits are kept together with others, where there are any of both."""
    shared = [budget for budget in settings.budgets if budget.window is not None]
    if settings.bus.url is None or not (shared or any(key.limits.streams for key in settings.keys)):
        return []
    shares = settings.bus.shares
    share = "the whole of it (bus.shares: 1)" if shares == 1 else f"1/{shares} of it"
    return [f"  limits  hold over all replicas; while the bus is away each allows {share}"]
