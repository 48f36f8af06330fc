"""The files that run several replicas: read by the tools that know their formats, and held against the program."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from proxy.config_file import load
from proxy.core.settings.settings import Settings
from proxy.stores.bus.redis_group import OVERDUE_LEASES
from support.balancer import haproxy_config, haproxy_program
from support.deploy_files import DEPLOY, LAST_RECORDS, seconds
from support.program import ROOT
from support.topology import new_secrets

COMPOSE = "deploy/compose.replicas.yaml"
CONFIG = ROOT / "config" / "replicas.yaml"
REPLICAS = ("quell-a", "quell-b")


def compose() -> dict[str, Any]:
    """The services of the compose file."""
    services: dict[str, Any] = yaml.safe_load((ROOT / COMPOSE).read_text())["services"]
    return services


def settings_with(environ: dict[str, str], file: Path = CONFIG) -> Settings:
    """The settings of a config, which must be valid with this environment, and without a warning."""
    loaded = load(file, environ)
    assert loaded.settings is not None, loaded.problems
    assert not loaded.warnings
    return loaded.settings


def environ_of(service: str) -> dict[str, str]:
    """What the compose file sets for a replica, with the secrets that the script makes and a provider's key."""
    given = new_secrets()[0] | {"OPENAI_API_KEY": "sk-1"}
    text: dict[str, str] = compose()[service]["environment"]
    return {key: _filled(value, given) for key, value in text.items()}


def _filled(text: str, given: dict[str, str]) -> str:
    """A compose file's value, with its variables filled in."""

    def value(found: re.Match[str]) -> str:
        name, rest = found[1], found[2]
        assert name in given or rest.startswith(":-"), f"nothing sets {name}"
        return given.get(name, rest.removeprefix(":-"))

    return re.sub(r"\$\{(\w+)([^}]*)\}", value, text)


def test_compose_sets_what_the_config_asks_for() -> None:
    """With the script's secrets each replica has a valid config, a name of its own, and everything else in common."""
    found = [settings_with(environ_of(name)) for name in REPLICAS]
    assert [settings.replica for settings in found] == ["a", "b"]
    for settings in found:
        assert settings.ledger.url.startswith("postgresql://quell:")
        assert settings.bus.url == "redis://valkey:6379/0"
        assert settings.keys
    for name in REPLICAS:
        mounted = dict(each.split(":", 1) for each in compose()[name]["volumes"])
        assert mounted["../config/replicas.yaml"] == "/etc/quell/quell.yaml:ro"
        assert mounted[name] == "/var/lib/quell"


def test_compose_waits_for_the_drain() -> None:
    """Docker kills a replica, and the balancer before it, only after the drain and the last records had their time."""
    drain = settings_with(environ_of("quell-a")).drain
    for name in (*REPLICAS, "balancer"):
        assert seconds(compose()[name]["stop_grace_period"]) >= drain.ready_delay + drain.timeout + LAST_RECORDS


def test_compose_notices_a_machine_that_vanished() -> None:
    """The server gives a connection up that nobody is behind, sooner than replicas are taken for dead without that."""
    command = compose()["valkey"]["command"]
    keepalive = int(command[command.index("--tcp-keepalive") + 1])
    assert 0 < 2 * keepalive < OVERDUE_LEASES * settings_with(environ_of("quell-a")).bus.lease


def test_secrets_are_made_anew_and_fit(tmp_path: Path) -> None:
    """Each run of the script makes others; the key that it shows is the one whose hash it writes."""
    first, key = new_secrets()
    second, other = new_secrets()
    assert key != other
    assert not set(first.values()) & set(second.values())
    hashed = subprocess.run(["sha256sum"], input=key.encode(), capture_output=True, check=True).stdout.split()[0]
    assert first["APPS_KEY_SHA256"] == hashed.decode()


def test_haproxy_takes_its_file(tmp_path: Path) -> None:
    """HAProxy itself finds nothing to say about the file, but for names that only Docker knows."""
    for name, text in (
        ("shipped", (DEPLOY / "haproxy" / "haproxy.cfg").read_text()),
        ("here", haproxy_config([(1, 2), (3, 4)], 5)),
    ):
        file = tmp_path / name
        file.write_text(text)
        done = subprocess.run([haproxy_program(), "-c", "-f", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = [line for line in done.stderr.splitlines() if "WARNING" in line or "ALERT" in line]
        assert not [line for line in found if "could not resolve address 'quell-" not in line], found


def test_haproxy_turns_away_within_the_ready_delay() -> None:
    """A replica that is not ready is found out, checks and their timeouts included, before it refuses new work."""
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    found = re.search(r"inter (\d+)s fall (\d+)", text)
    assert found
    worst = int(found[1]) * (int(found[2]) + 1)  # it goes just behind a check
    drain = settings_with(environ_of("quell-a")).drain
    assert worst < drain.ready_delay
