"""The settings one by one: each value with the line that sets it, or what else did."""

from pathlib import Path
from typing import Any

from proxy.cli.by_hand import by_hand
from proxy.cli.demo_settings import demo_settings
from proxy.config_file import load_env
from proxy.config_file.loader import load
from proxy.config_file.told_values import told_values
from proxy.core.settings.scalar_types import Address
from proxy.core.settings.settings import Settings

FILE = """\
version: 1
upstreams:
  openai:
    base_url: ${BASE:-https://api.example.com/v1}
    api_key: ${KEY}
    timeouts: {idle: 5s}
  own:
    base_url: http://127.0.0.1:1/v1
    api_key_file: key.txt
    proxy: http://ann:pw-of-proxy@127.0.0.1:3128
routes:
  - path: /v1
    dialect: [openai, assistants]
    upstream: openai
    tags: {team: search}
  - {path: /own, dialect: openai, upstream: own}
keys:
  - id: acme
    hash: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
admin:
  token: admin-token-of-this-test
sink:
  url: https://ann:pw-of-sink@meter.example.com/events
  headers: {X-Meter: meter-secret}
bus:
  url: redis://:pw-of-bus@127.0.0.1:6379
  secret: bus-secret-of-this-test
"""
SECRETS = (
    *("sk-of-this-test", "key-from-a-file", "pw-of-proxy", "pw-of-sink", "pw-of-bus", "meter-secret"),
    *("admin-token-of-this-test", "bus-secret-of-this-test", "2c26b46b68ff"),
)


def loaded(folder: Path) -> Settings:
    """The settings of the file above."""
    (folder / "key.txt").write_text("key-from-a-file\n")
    (folder / "key.txt").chmod(0o600)
    file = folder / "quell.yaml"
    file.write_text(FILE)
    found = load(file, {"KEY": "sk-of-this-test"})
    assert found.settings, found.problems
    return found.settings


def by_key(settings: Settings) -> dict[str, dict[str, Any]]:
    """The values by their keys."""
    return {each["key"]: each for each in told_values(settings)}


def test_each_value_of_the_file_has_its_place(tmp_path: Path) -> None:
    """Line and column are those of the value; what a variable fills in stands in the file too."""
    found = by_key(loaded(tmp_path))
    place = {key: (each["line"], each["column"], each["from"]) for key, each in found.items()}
    assert place["version"] == (1, 10, "file")
    assert place["upstreams.openai.base_url"] == (4, 15, "file")
    assert found["upstreams.openai.base_url"]["value"] == "https://api.example.com/v1"
    assert place["upstreams.openai.timeouts.idle"] == (6, 22, "file")
    assert place["upstreams.openai.timeouts.total"] == (None, None, "default")
    assert (found["routes[0].dialect"]["value"], place["routes[0].dialect"][0]) == (["openai", "assistants"], 13)
    assert place["routes[0].tags.team"] == (15, 18, "file")
    assert place["routes[1].path"] == (16, 12, "file")
    assert place["upstreams.own.api_key"] == (9, 19, "file")
    assert found["drain.timeout"] == {
        "key": "drain.timeout",
        "value": "1m",
        "line": None,
        "column": None,
        "from": "default",
    }


def test_every_value_is_there_sorted_and_no_secret_is(tmp_path: Path) -> None:
    """All values come sorted by key, and none of the file's secrets is in them, wherever it stands."""
    settings = loaded(tmp_path)
    values = told_values(settings)
    keys = [each["key"] for each in values]
    assert keys == sorted(keys)
    expected = {"keys[0].hash", "admin.token", "bus.secret", "sink.headers.X-Meter", "budgets", "limits.streams"}
    assert expected <= set(keys)
    text = str(values)
    assert [secret for secret in SECRETS if secret in text] == []


def test_without_a_file_it_says_what_set_a_value() -> None:
    """`quell run` takes two values from the environment, the command line sets the listeners, the rest is default."""
    settings = load_env({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "sk-x"})
    usual = settings.admin.listen
    found = by_key(by_hand(settings, Address("127.0.0.1", 9484), usual))
    assert settings.origin.file is None
    assert {key: found[key]["from"] for key in ("listen", "admin.listen", "version")} == {
        "listen": "command line",
        "admin.listen": "default",
        "version": "default",
    }
    assert found["upstreams.openai.base_url"]["from"] == found["upstreams.openai.api_key"]["from"] == "environment"
    assert "sk-x" not in str(found)
    plain = by_key(load_env({}))
    assert plain["upstreams.openai.base_url"]["from"] == "default"


def test_the_demo_takes_nothing_from_the_environment() -> None:
    """The demo upstream's address and key are the program's own, and said to be; what it leaves alone is default."""
    found = by_key(demo_settings({"OPENAI_API_KEY": "sk-somebodys"}))
    assert {each["from"] for each in found.values()} == {"default", "demo"}
    assert {
        found[key]["from"] for key in ("upstreams.openai.base_url", "upstreams.gemini.format", "routes[0].path")
    } == {"demo"}
    assert found["limits.streams"]["from"] == "default"
