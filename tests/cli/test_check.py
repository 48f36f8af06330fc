import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import check as command
from proxy.config_file.json_schema import config_schema
from proxy.engine.settling.genai_fallback import NOT_INSTALLED
from support.config_files import SMALLEST
from support.program import ROOT, config_text
from support.quell import quell

SECRETS = {
    "OPENAI_API_KEY": "canary-key-4711",
    "SEARCH_KEY_SHA256": "ab" * 32,
    "QUELL_BUS_SECRET": "canary-of-the-bus",
    "QUELL_PG_PASSWORD": "canary-of-postgresql",
    "SUPPORT_KEY_SHA256": "cd" * 32,
    "APPS_KEY_SHA256": "ef" * 32,
    "QUELL_ADMIN_TOKEN": "canary-token-4711",
    "QUELL_LEDGER": "postgresql://db/quell?sslmode=verify-full",
}
TWO_ROUTES = f"""\
{SMALLEST}\
  - path: /v1/local
    dialect: openai
    upstream: openai
  - path: /anthropic
    dialect: anthropic
    upstream: openai
workers: 2
bus: {{url: "redis://bus", secret: "0123456789abcdef"}}
"""


def write(folder: Path, text: str) -> None:
    """The config file of a test."""
    (folder / "quell.yaml").write_text(text)


def test_a_valid_file_exits_0_and_says_what_is_served(tmp_path: Path) -> None:
    """Whoever checks a file sees its listeners and where each route leads."""
    write(tmp_path, SMALLEST)
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "quell.yaml: valid",
        "  listen  127.0.0.1:8484",
        "  admin   127.0.0.1:8485",
        "  route   /v1 (openai) -> openai (https://api.openai.com/v1)",
        "  keys    none",
    ]


def test_the_summary_has_where_others_are_met(tmp_path: Path) -> None:
    """The bus's address without its password, and the name of this replica, are in the summary."""
    bus = 'bus: {url: "redis+sentinel://:canary@one,two:99/main/2", secret: "0123456789abcdef"}\n'
    write(tmp_path, SMALLEST + bus)
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert "  bus     one:26379,two:99/main/2\n  replica auto: a name of its own at each start\n" in done.stdout
    assert "canary" not in done.stdout
    write(tmp_path, SMALLEST + bus + "replica: one\n")
    assert "  replica one\n" in quell("check", "quell.yaml", folder=tmp_path).stdout


def test_the_summary_has_budgets_and_sink(tmp_path: Path) -> None:
    """Each budget is said in words, and where events go without what may be secret in it."""
    budgets = [
        {"per": "request", "seconds": 120},
        {"per": "key", "window": "1d", "completion_tokens": 10, "cost": "0.5"},
    ]
    sink = {"url": "https://user:canary@meter.example.com/events?key=canary"}
    write(tmp_path, config_text("http://127.0.0.1:1", budgets=budgets, sink=sink, prices={"fallback": "genai-prices"}))
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-3:] == [
        "  budget  seconds 120 per request",
        "  budget  completion_tokens 10 per key within 1d, cost 0.5 per key within 1d",
        "  sink    https://***@meter.example.com/events?***",
    ]


@pytest.mark.parametrize(("shares", "told"), [(1, "the whole of it (bus.shares: 1)"), (3, "1/3 of it")])
def test_what_limits_are_without_the_bus_is_told(tmp_path: Path, shares: int, told: str) -> None:
    """Whoever checks a file with a bus and limits sees what each replica allows while the bus is away."""
    bus = f"bus: {{url: redis://bus, secret: {'s' * 32}, shares: {shares}}}"
    write(tmp_path, f"{SMALLEST}{bus}\nbudgets: [{{per: key, window: 1d, seconds: 60}}]\n")
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert f"  limits  hold over all replicas; while the bus is away each allows {told}" in done.stdout.splitlines()
    write(tmp_path, f"{SMALLEST}{bus}\n")
    assert "limits" not in quell("check", "quell.yaml", folder=tmp_path).stdout


def test_an_invalid_file_exits_1_with_every_error_located(tmp_path: Path) -> None:
    """Errors are FILE:LINE:COL: message, the nearest word included, and nothing else is printed."""
    write(tmp_path, SMALLEST.replace("base_url", "bse_url").replace("dialect: openai", "dialect: opnai"))
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "quell.yaml:4:5: unknown key 'bse_url' (did you mean 'base_url'?)",
        (
            "quell.yaml:7:14: routes[0].dialect: expected one of: openai, assistants, dify, async_messages, aitronos, "
            "anthropic (did you mean 'openai'?)"
        ),
    ]


def test_every_error_is_shown_at_once(tmp_path: Path) -> None:
    """Of more errors than a start shows `check` leaves none out: whoever asked for them wants to mend them all."""
    write(tmp_path, SMALLEST + "".join(f"bad_{number}: 1\n" for number in range(25)))
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert len([line for line in done.stdout.splitlines() if "unknown key" in line]) == 25


def test_warnings_leave_a_file_valid(tmp_path: Path) -> None:
    """What is probably not meant is told with exit code 0."""
    write(tmp_path, f"{TWO_ROUTES}listen: 0.0.0.0:8484\n")
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert done.returncode == 0
    assert "quell.yaml:17:9: warning: listen: others can reach this listener" in done.stdout


def test_a_shared_ledger_is_explained(tmp_path: Path) -> None:
    """Where it is, without its password, and by which file; a way that others can read along earns a warning."""
    url = "postgresql://me:canary@db.example/quell"
    write(tmp_path, config_text("http://127.0.0.1:1", ledger={"url": url}))
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert "  ledger  PostgreSQL at db.example:5432/quell, by way of quell.db\n" in done.stdout
    assert "warning: ledger.url: records and texts go to another host" in done.stdout
    assert "canary" not in done.stdout
    write(tmp_path, config_text("http://127.0.0.1:1", ledger={"url": f"{url}?sslmode=verify-full"}))
    assert "warning" not in quell("check", "quell.yaml", folder=tmp_path).stdout
    write(tmp_path, config_text("http://127.0.0.1:1", ledger={"url": "sqlite:///q.db", "spool": "s.db"}))
    assert (
        "ledger.spool: this belongs to a ledger in PostgreSQL" in quell("check", "quell.yaml", folder=tmp_path).stdout
    )


def test_programs_get_json(tmp_path: Path) -> None:
    """--format json has the same facts with their places."""
    write(tmp_path, SMALLEST.replace("upstream: openai", "upstream: nobody"))
    done = quell("check", "--format", "json", "quell.yaml", folder=tmp_path)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["valid"]) == (1, False)
    assert answer["problems"] == [
        {
            "file": "quell.yaml",
            "line": 8,
            "column": 15,
            "message": "routes[0].upstream: no upstream is named 'nobody' (known: openai)",
            "path": "routes[0].upstream",
        }
    ]
    write(tmp_path, TWO_ROUTES)
    answer = json.loads(quell("check", "--format", "json", "quell.yaml", folder=tmp_path).stdout)
    assert (answer["valid"], answer["problems"], answer["warnings"]) == (True, [], [])
    assert answer["serve_will_refuse"] == []


def test_a_request_is_explained(tmp_path: Path) -> None:
    """--explain says which route takes a request, where it goes, and why; as text and as JSON."""
    write(tmp_path, TWO_ROUTES)
    asked = ("check", "quell.yaml", "--explain", "POST /v1/chat/completions")
    done = quell(*asked, folder=tmp_path)
    assert done.returncode == 0
    assert "  goes to   https://api.openai.com/v1/chat/completions\n" in done.stdout
    answer = json.loads(quell(*asked, "--format", "json", folder=tmp_path).stdout)
    assert answer["explain"]["url"] == "https://api.openai.com/v1/chat/completions"


def test_what_is_no_request_line_is_a_usage_error(tmp_path: Path) -> None:
    """A half request line is told how a whole one looks."""
    write(tmp_path, SMALLEST)
    done = quell("check", "quell.yaml", "--explain", "/v1", folder=tmp_path)
    assert done.returncode == 2
    assert "expected a method and a path, such as 'POST /v1/chat/completions'" in done.stderr


@pytest.mark.parametrize("name", ["nothere.yaml", "."])
def test_a_missing_file_is_one_clear_line(tmp_path: Path, name: str) -> None:
    """No traceback, no default in its place."""
    done = quell("check", name, folder=tmp_path)
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (1, 1, "")


CONFIGS = sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / "config" / "prices.yaml"})
"""Every example but the price list, which is no config by itself."""


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.name))
def test_every_example_is_valid_and_shows_no_secret(tmp_path: Path, file: Path) -> None:
    """What people copy works, and its secrets are never printed."""
    done = quell("check", str(file), folder=tmp_path, **SECRETS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "canary" not in done.stdout
    if file.name != "full.yaml":
        assert "warning" not in done.stdout


def test_the_example_of_a_price_list_is_valid(tmp_path: Path) -> None:
    """It is checked along with a config that names it, and shown with its version."""
    own = {"base_url": "http://127.0.0.1:1"}
    prices = {"file": str(ROOT / "config" / "prices.yaml")}
    write(tmp_path, config_text(own["base_url"], upstreams={"groq": own, "local": own}, prices=prices))
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "prices.yaml" not in done.stdout
    assert "  prices  2026-08-example+" in done.stdout


def test_an_error_of_the_price_list_is_one_of_the_config(tmp_path: Path) -> None:
    """It has the price file's name as the config's was given, its line and column; the config is not valid."""
    write(tmp_path, config_text("http://127.0.0.1:1", prices={"file": "prices.yaml"}))
    (tmp_path / "prices.yaml").write_text('version: a\ncurrency: USD\nmodels: {m: {input: 0.15, output: "1"}}\n')
    done = quell("check", "quell.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith('prices.yaml:3:21: models.m.input: put it in quotes: "0.15"; ')


@pytest.mark.parametrize("installed", [True, False])
def test_a_package_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """A fallback whose package is not installed is named by check as what serve will refuse."""
    write(tmp_path, config_text("http://127.0.0.1:1", prices={"fallback": "genai-prices"}))
    monkeypatch.setattr(command, "is_installed", lambda: installed)
    done = CliRunner().invoke(command.check, ["--format", "json", str(tmp_path / "quell.yaml")])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["valid"]) == (0, True)
    assert found["serve_will_refuse"] == ([] if installed else [NOT_INSTALLED])


def test_the_full_example_has_every_key() -> None:
    """Whoever looks for a key finds it in config/full.yaml."""
    text = (ROOT / "config" / "full.yaml").read_text()
    schema = config_schema()
    secrets = {"token", "secret"}  # shown with their files only
    for section in (schema, *schema["definitions"].values()):
        for key in section.get("properties", {}):
            assert re.search(rf"\b{key}\b", text) or key in secrets, key
