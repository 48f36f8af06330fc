"""The commands that get records out, and later truths in, against a running proxy and against a ledger's file."""

import asyncio
import csv
import importlib
import io
import json
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from proxy.cli.export_pages import ExportPage
from proxy.cli.ledger import ledger as ledger_group
from proxy.cli.usage import usage
from proxy.stores.ledger.sqlite import SqliteLedger
from support.http_bytes import Headers
from support.ledgers import a_ledger
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import answer, by_path, cut_at, in_turn, json_answer
from support.settled import over, settle, told
from support.upstream import Script, scripted_upstream
from support.wait import within

NDJSON = "application/x-ndjson"
COLUMNS = (
    "generations,prompt_tokens,completion_tokens,total_tokens,cached_tokens,reasoning_tokens,unknown,cost_unknown,"
    "saved_typical,saved_most,late_tokens"
)
"""Of usage as CSV, where no cost is known."""


@asynccontextmanager
async def a_proxy(folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, SqliteLedger]]:
    """A proxy, and its ledger."""
    async with running_proxy(config_text("http://127.0.0.1:1/v1", **config), folder) as proxy:
        opened: Any = proxy.app.engine.ledger
        yield proxy, opened


async def run(command: click.Command, *arguments: Any, url: str = "http://127.0.0.1:1", **env: str) -> Result:
    """Run a command in a thread, with the tests' admin token in the environment."""
    known = {"QUELL_ADMIN": url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1"}
    with capture_logs():
        typed = [str(each) for each in arguments]
        return await within(
            asyncio.to_thread(CliRunner().invoke, command, typed, env={**known, **env}), "it ends", 30.0
        )


def recent(uid: str, **facts: Any) -> Any:
    """An ended record of the last hour."""
    return over(uid, **({"started_at": time.time() - 3600} | facts))


def ids(text: str) -> list[str]:
    """The ids of an export as JSON lines."""
    return [json.loads(line)["id"] for line in text.splitlines()]


# Usage.


async def test_usage_shows_cost_and_savings_apart(tmp_path: Path) -> None:
    """The table has a column for each currency, counts unknown costs, and shows what was saved as a range."""
    async with a_proxy(tmp_path) as (proxy, ledger):
        saved = {"saved_most": 1900, "saved_typical": 40, "late_tokens": 3}
        await settle(ledger, recent("a", **saved), recent("b", cost=Decimal("0.000001"), currency="EUR"))
        await settle(ledger, recent("c", cost=None, currency=None, tags={"team": "x"}))
        shown = (await run(usage, "--by", "route,model", url=proxy.admin_url)).stdout.splitlines()
        assert " ".join(shown[0].split()) == (
            "ROUTE MODEL GENERATIONS PROMPT COMPLETION TOTAL CACHED REASONING UNKNOWN "
            "COST EUR COST USD NO COST SAVED LATE"
        )
        assert " ".join(shown[1].split()) == "/v1 m 3 21 15 36 - - 0 0.000001 0.25 1 40 to 1,900 3"
        table = await run(usage, "--tag", "team=x", "--by", "route", "--by", "user", "-o", "csv", url=proxy.admin_url)
        assert table.stdout.splitlines() == [f"route,user,{COLUMNS}", "/v1,,1,7,5,12,,,0,1,,,"]


@pytest.mark.parametrize(("option", "typed"), [("--tag", "team"), ("--since", "yesterday"), ("--outcome", "done")])
async def test_what_is_typed_wrong_is_named(option: str, typed: str) -> None:
    """An option that can't be understood is a mistake in what was typed: exit code 2, with its name."""
    wrong = await run(usage, option, typed)
    assert (wrong.exit_code, f"'{option}'" in wrong.stderr) == (2, True)


# Export.


async def test_an_export_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """With a cursor file each export has what settled since the last one; a later truth is a further revision."""
    async with a_proxy(tmp_path) as (proxy, ledger):
        command = ("export", "--cursor-file", tmp_path / "cursor")
        await settle(ledger, recent("a", text="words"), recent("b"))
        first = await run(ledger_group, *command, url=proxy.admin_url)
        assert (first.exit_code, ids(first.stdout)) == (0, ["a.1", "b.1"])
        assert first.stderr == "2 exported; go on with --after 2\n"
        assert "words" not in first.stdout
        assert ids((await run(ledger_group, *command, url=proxy.admin_url)).stdout) == []
        await ledger.truths.attach([told("a")])
        await settle(ledger, recent("c"))
        third = await run(ledger_group, *command, url=proxy.admin_url)
        assert ids(third.stdout) == ["a.2", "c.1"]
        assert json.loads(third.stdout.splitlines()[0])["truth"]["completion_tokens"] == 6
        assert (tmp_path / "cursor").read_text() == "4\n"
        again = await run(ledger_group, "export", "--after", "1", url=proxy.admin_url)
        assert ids(again.stdout) == ["b.1", "a.2", "c.1"]


async def test_a_file_is_exported_like_its_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger's file gives the same lines as the proxy on it, page by page, also when no proxy runs."""
    monkeypatch.setattr("proxy.cli.export_pages._PAGE", 2)
    async with a_proxy(tmp_path) as (proxy, ledger):
        await settle(ledger, *(recent(f"u{n}", tags={"team": "ä"}) for n in range(5)))
        live = await run(ledger_group, "export", url=proxy.admin_url)
        beside = await run(ledger_group, "export", tmp_path / "quell.db")
    alone = await run(ledger_group, "export", tmp_path / "quell.db", "--since", "2h")
    assert live.stdout == beside.stdout == alone.stdout
    assert len(ids(alone.stdout)) == 5
    assert ids((await run(ledger_group, "export", tmp_path / "quell.db", "--until", "2h")).stdout) == []


async def test_an_export_that_was_cut_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the proxy goes in the middle, the error says from where to go on, and nothing is missing or there twice."""
    monkeypatch.setattr("proxy.cli.export_pages._PAGE", 3)
    async with a_ledger(tmp_path / "q.db") as ledger:
        await settle(ledger, *(recent(f"u{n}") for n in range(8)))
    whole = (await run(ledger_group, "export", tmp_path / "q.db")).stdout
    page = "".join(whole.splitlines(keepends=True)[:3]).encode()
    heads: Headers = [("Content-Type", NDJSON), ("X-Next-Cursor", "3"), ("X-Last-Cursor", "8"), ("X-More", "true")]
    dying = in_turn(answer(200, page, heads), cut_at(page, 40, "fin", headers=heads))
    async with scripted_upstream(dying) as fake:
        cut = await run(ledger_group, "export", url=fake.origin)
    assert cut.exit_code == 1
    assert "cut behind 3 records; go on with --after 3\n" in cut.stderr
    assert "broke off its answer" in cut.stderr
    rest = await run(ledger_group, "export", tmp_path / "q.db", "--after", 3)
    assert cut.stdout + rest.stdout == whole


async def test_an_export_that_is_stopped_says_where_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle: what is written stays, and the cursor behind it is told."""

    def pages(*_: object) -> Iterator[ExportPage]:
        yield ExportPage([{"id": "a.1"}, {"id": "b.1"}], 2, 9)
        raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.ledger_export.pages_of_file", pages)
    stopped = await run(ledger_group, "export", tmp_path / "q.db")
    assert (stopped.exit_code, stopped.stdout.count("\n")) == (1, 2)
    assert "cut behind 2 records; go on with --after 2\n" in stopped.stderr


async def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """The file has mode 0600; a cut export leaves the old one as it was, no other one behind, and the cursor alone."""
    out, cursor = tmp_path / "out" / "records.jsonl", tmp_path / "cursor"
    out.parent.mkdir()
    async with a_ledger(tmp_path / "q.db") as ledger:
        await settle(ledger, recent("a"))
    done = await run(ledger_group, "export", tmp_path / "q.db", "-o", out, "--cursor-file", cursor)
    assert (done.exit_code, done.stdout, stat.S_IMODE(out.stat().st_mode)) == (0, "", 0o600)
    before = out.read_text()
    heads: Headers = [("Content-Type", NDJSON), ("X-Next-Cursor", "2"), ("X-Last-Cursor", "8"), ("X-More", "true")]
    script = in_turn(answer(200, b'{"id": "b.1"}\n', heads), answer(503, b"{}"))
    async with scripted_upstream(script) as fake:
        cut = await run(ledger_group, "export", "-o", out, "--cursor-file", cursor, url=fake.origin)
    assert cut.exit_code == 1
    assert [each.name for each in out.parent.iterdir()] == ["records.jsonl"]
    assert (out.read_text(), cursor.read_text()) == (before, "1\n")


async def test_csv_has_no_formulas(tmp_path: Path) -> None:
    """CSV has the record's fields and those of a later truth; what begins like a formula is plain text."""
    bad = "=HYPERLINK(1)"
    async with a_ledger(tmp_path / "q.db") as ledger:
        await settle(ledger, recent("a", user=bad, reason="+1", tags={"t": "=x"}, price='{"input": "2.50"}'))
        await ledger.truths.attach([told("a", completion_tokens=6)])
    out = tmp_path / "records.csv"
    assert (await run(ledger_group, "export", tmp_path / "q.db", "-o", out)).exit_code == 0
    first, second = csv.DictReader(io.StringIO(out.read_text()))
    assert (first["id"], first["user"], first["reason"]) == ("a.1", "'=HYPERLINK(1)", "'+1")
    assert (json.loads(first["tags"]), json.loads(first["price"])) == ({"t": "=x"}, {"input": "2.50"})
    assert (first["cost"], first["truth_completion_tokens"], first["cached_tokens"]) == ("0.25", "", "")
    assert (second["id"], second["completion_tokens"], second["truth_completion_tokens"]) == ("a.2", "5", "6")
    assert "text" not in first


async def test_parquet_keeps_types(tmp_path: Path) -> None:
    """Parquet has whole numbers, exact decimals, timestamps and a map; unknown is null."""
    parquet: Any = importlib.import_module("pyarrow.parquet")
    async with a_ledger(tmp_path / "q.db", text="all") as ledger:
        cost = Decimal("0.123456789012")
        await settle(ledger, recent("a", started_at=1_000_000_000.25, tags={"t": "x"}, cost=cost, text="words"))
        await ledger.truths.attach([told("a", completion_tokens=6)])
    out = tmp_path / "records.parquet"
    assert (await run(ledger_group, "export", tmp_path / "q.db", "--text", "-o", out)).exit_code == 0
    first, second = parquet.read_table(out).to_pylist()
    assert (first["id"], first["cost"], first["tags"]) == ("a.1", cost, [("t", "x")])
    assert first["started_at"].isoformat() == "2001-09-09T01:46:40.250000+00:00"
    assert (first["prompt_tokens"], first["cached_tokens"], first["text"], first["text_clipped"]) == (
        7,
        None,
        "words",
        False,
    )
    assert (second["revision"], second["truth_completion_tokens"], second["truth_cost"]) == (2, 6, None)
    empty = await run(ledger_group, "export", tmp_path / "q.db", "--after", 2, "-o", out)
    assert (empty.exit_code, parquet.read_table(out).num_rows) == (0, 0)


async def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install, and no file is left."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    async with a_ledger(tmp_path / "q.db"):
        pass
    failed = await run(ledger_group, "export", tmp_path / "q.db", "-o", tmp_path / "x.parquet")
    assert (failed.exit_code, "pip install 'quell[parquet]'" in failed.stderr) == (1, True)
    assert not (tmp_path / "x.parquet").exists()


async def test_what_can_not_be_exported_is_named(tmp_path: Path) -> None:
    """A file that is no ledger, a cursor that is none or foreign, and two cursors each get one line."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        await settle(ledger, recent("a"))
    (tmp_path / "text").write_text("x" * 5000)
    (tmp_path / "cursor").write_text("x")
    for arguments, part in (
        ([tmp_path / "none"], "there is no such file"),
        ([tmp_path / "text"], "can't be read as a ledger"),
        ([tmp_path / "q.db", "--after", 2], "never had so many records"),
        ([tmp_path / "q.db", "--cursor-file", tmp_path / "cursor"], "holds no cursor"),
        ([tmp_path / "q.db", "--cursor-file", tmp_path / "cursor", "--after", 1], "not both"),
        ([tmp_path / "q.db", "-o", tmp_path / "no" / "file"], "can't be written"),
    ):
        failed = await run(ledger_group, "export", *arguments)
        assert (failed.exit_code, part in failed.stderr) == (1, True), failed.output
        assert "go on with" not in failed.stderr


# Reconcile and drift.


async def test_a_bill_is_attached_and_drift_shows(tmp_path: Path) -> None:
    """Columns are found by their heads; a dry run writes nothing; doing it again changes nothing."""
    bill = tmp_path / "bill.csv"
    bill.write_text("﻿request_id,upstream,completion_tokens,amount\r\nup-a,openai,6,0.30\r\nup-b,,,0.0000010\r\n")
    async with a_proxy(tmp_path) as (proxy, ledger):
        await settle(ledger, recent("a"), recent("b"))
        maps = ["--map", "upstream_id=request_id", "--map", "cost=amount", "--currency", "USD"]
        command = ("reconcile", bill, *maps)
        dry = await run(ledger_group, *command, "--dry-run", "-o", "json", url=proxy.admin_url)
        assert (json.loads(dry.stdout)["counts"], await ledger.outbox.pending(2)) == ({"attached": 2}, 0)
        for result in ("attached", "unchanged"):
            done = await run(ledger_group, *command, url=proxy.admin_url)
            assert done.exit_code == 0, done.output
            assert done.stdout.splitlines()[1].split() == [result, "2"]
        assert await ledger.outbox.pending(2) == 2
        drift = await run(ledger_group, "drift", "-o", "csv", url=proxy.admin_url)
        assert drift.stdout.splitlines() == [
            "upstream,model,source,records,what,ours,theirs,percent",
            "openai,m,csv,2,prompt tokens,,,",
            "openai,m,csv,2,completion tokens,5,6,20.0",
            "openai,m,csv,2,cost USD,0.5,0.300001,-40.0",
        ]
        table = (await run(ledger_group, "drift", "--since", "1d", url=proxy.admin_url)).stdout
        assert table.splitlines()[2].split() == ["openai", "m", "csv", "2", "completion", "tokens", "5", "6", "20.0"]


async def test_what_finds_no_record_is_listed_by_line(tmp_path: Path) -> None:
    """What is not attached is told with its line; the exit code is 3, and the others are attached."""
    bill = tmp_path / "bill.csv"
    bill.write_text("upstream_id,prompt_tokens\nup-a,8\n\nnone,9\nsame,1\n")
    async with a_proxy(tmp_path) as (proxy, ledger):
        await settle(ledger, recent("a"), recent("x", upstream_id="same"), recent("y", upstream_id="same"))
        done = await run(ledger_group, "reconcile", bill, url=proxy.admin_url)
        assert done.exit_code == 3
        assert done.stderr.splitlines() == [
            f"{bill}:4: none: no record has this upstream id",
            f"{bill}:5: same: several records have this upstream id; a column upstream would tell which",
        ]
        assert await ledger.outbox.pending(3) == 1


async def test_a_wrong_line_attaches_nothing(tmp_path: Path) -> None:
    """Every wrong line is named with its field and what was expected, and nothing is attached."""
    bill = tmp_path / "bill.csv"
    bill.write_text(
        "upstream_id,prompt_tokens,cost,currency\nup-a,8,,\nup-a,8.5,,\n,8,,\nup-a,,,\nup-a,,1,\nup-a,,x,USD\nup-a,,1,usd\nup-a\n"
    )
    async with a_proxy(tmp_path) as (proxy, ledger):
        await settle(ledger, recent("a"))
        wrong = await run(ledger_group, "reconcile", bill, url=proxy.admin_url)
        assert wrong.exit_code == 1
        assert wrong.stderr.splitlines() == [
            f"quell: {bill}: nothing was attached:",
            f"{bill}:3: prompt_tokens: expected a whole number such as 1250",
            f"{bill}:4: upstream_id: is empty",
            f"{bill}:5: says nothing: it needs a token count or a cost",
            f"{bill}:6: currency: is empty; name it for all lines: --currency USD",
            f"{bill}:7: cost: expected a decimal number from 0 to 9000000, such as 0.0125",
            f"{bill}:8: currency: expected three capital letters, such as USD",
            f"{bill}:9: has fewer cells than the first line has heads",
        ]
        assert await ledger.outbox.pending(1) == 0


@pytest.mark.parametrize(
    ("text", "arguments", "part"),
    [
        (b"id,cost\n", [], "has no column upstream_id"),
        (b"upstream_id,note\n", [], "has no column with tokens or cost"),
        (b"upstream_id,cost,cost\n", [], "has two columns cost"),
        (b"upstream_id,Cost\n", ["--map", "cost=Costs"], "has no column Costs; did you mean Cost?"),
        (b"upstream_id,cost\n\xff,1\n", [], "is no text in UTF-8"),
        (b'upstream_id,cost\n"a,1\n', [], "is no CSV"),
        (b"", [], "has no column upstream_id"),
        (b"upstream_id,cost\n", ["--currency", "usd"], "--currency: expected three capital letters"),
        (b"upstream_id,cost\n", ["--openrouter"], "give a FILE, or --openrouter"),
    ],
)
async def test_a_wrong_file_is_refused(tmp_path: Path, text: bytes, arguments: list[str], part: str) -> None:
    """What is wrong with the file as a whole is one line, before the proxy is asked anything."""
    bill = tmp_path / "bill.csv"
    bill.write_bytes(text)
    wrong = await run(ledger_group, "reconcile", bill, *arguments)
    assert (wrong.exit_code, part in wrong.stderr) == (1, True), wrong.output


def generation(**data: Any) -> Script:
    """OpenRouter's answer about a generation."""
    return json_answer({"data": {"id": "x", "tokens_prompt": 99, "is_byok": False, **data}})


@asynccontextmanager
async def a_router(folder: Path, script: Script) -> AsyncIterator[tuple[RunningProxy, SqliteLedger, Any]]:
    """A proxy whose upstream `up` answers like OpenRouter, with the key that the config has for it."""
    async with scripted_upstream(script) as up:
        config = config_text(up.base_url, upstream={"api_key": "sk-or"})
        async with running_proxy(config, folder) as proxy:
            opened: Any = proxy.app.engine.ledger
            yield proxy, opened, up


async def ask_router(proxy: RunningProxy, folder: Path, *more: str) -> Result:
    """Reconcile with OpenRouter."""
    url = proxy.admin_url
    return await run(
        ledger_group, "reconcile", "--openrouter", "--admin", url, "-c", folder / "quell.yaml", *more, url=url
    )


async def test_openrouter_is_asked_for_what_it_has_not_told(tmp_path: Path) -> None:
    """Each record of the upstream is asked for once: native counts and cost are attached, 404 is tried again later."""
    answers = in_turn(
        generation(
            native_tokens_prompt=8,
            native_tokens_completion=6,
            native_tokens_cached=0,
            native_tokens_reasoning=None,
            total_cost=0.00014,
        ),
        json_answer({"error": {"code": 404, "message": "Generation not found"}}, 404),
    )
    async with a_router(tmp_path, answers) as (proxy, ledger, up):
        await settle(ledger, recent("a", upstream="up"), recent("b", upstream="up"), recent("c"))
        done = await ask_router(proxy, tmp_path, "--upstream", "up")
        assert done.exit_code == 3, done.output
        assert done.stderr == "upstreams.up: up-b: OpenRouter does not know it (yet); try again later\n"
        assert [request.target for request in up.requests] == ["/v1/generation?id=up-a", "/v1/generation?id=up-b"]
        assert ("Authorization", "Bearer sk-or") in up.requests[0].headers
        (truth,) = (await ledger.outbox.after(3, 5)).settled
        assert truth.truth is not None
        assert (truth.truth.source, truth.truth.prompt_tokens, truth.truth.completion_tokens) == ("openrouter", 8, 6)
        assert (truth.truth.cached_tokens, truth.truth.reasoning_tokens) == (0, None)
        assert (truth.truth.cost, truth.truth.currency) == (Decimal("0.00014"), "USD")
        up.script = generation(native_tokens_prompt=1, native_tokens_completion=1, total_cost=0)
        again = await ask_router(proxy, tmp_path, "--upstream", "up")
        assert again.exit_code == 0, again.output
        assert len(up.requests) == 3


async def test_openrouter_that_is_busy_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overload and breakage are waited out; a refused key, or another API, ends it with one line."""
    monkeypatch.setattr("proxy.cli.openrouter._PAUSE", 0.01)
    busy = in_turn(answer(429), answer(502), cut_at(b"{}", 1, "fin"), generation(native_tokens_completion=6))
    async with a_router(tmp_path, busy) as (proxy, ledger, up):
        await settle(ledger, recent("a", upstream="up"))
        assert (await ask_router(proxy, tmp_path, "--upstream", "up")).exit_code == 0
        await settle(ledger, recent("b", upstream="up"))
        for script, part in (
            (json_answer({}, 401), "is its key right?"),
            (answer(503), "does not answer (status 503)"),
            (json_answer({"data": []}), "is not OpenRouter's API"),
            (answer(200, b"<html>"), "is not OpenRouter's API"),
        ):
            up.script = script
            failed = await ask_router(proxy, tmp_path, "--upstream", "up")
            assert (failed.exit_code, part in failed.stderr) == (1, True), failed.output


async def test_openrouter_needs_an_upstream_and_a_key(tmp_path: Path) -> None:
    """What can't be asked is said before anything is asked."""
    async with a_router(tmp_path, by_path({})) as (proxy, _, up):
        no_host = await ask_router(proxy, tmp_path)
        assert "no upstream's base_url is at openrouter.ai" in no_host.stderr
        assert (
            "there is no upstream down; there are: up"
            in (await ask_router(proxy, tmp_path, "--upstream", "down")).stderr
        )
        no_config = await run(ledger_group, "reconcile", "--openrouter", url=proxy.admin_url)
        assert "--openrouter needs --config" in no_config.stderr
        assert up.requests == []
    async with a_proxy(tmp_path) as (proxy, _):
        no_key = await ask_router(proxy, tmp_path, "--upstream", "up")
        assert "upstreams.up has no api_key" in no_key.stderr
