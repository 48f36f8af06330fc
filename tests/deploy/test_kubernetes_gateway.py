"""The gateway's manifests, held against the program: config, secrets, drain, probes, rights, networks, scaling."""

from pathlib import Path
from typing import Any

import yaml

from proxy.config_file import load
from proxy.core.settings.settings import Settings
from proxy.engine.telemetry.metrics import Metrics
from support.deploy_files import DEPLOY, LAST_RECORDS, settings_of
from support.kustomize import build
from support.program import ROOT

GATEWAY = build(DEPLOY / "kubernetes" / "overlays" / "gateway-monitored")
CONFIG = ROOT / "config" / "replicas.yaml"
SECRETS = {
    "openai-api-key": "sk-1",
    "apps-key-sha256": "a" * 64,
    "admin-token": "token-of-operators",
    "bus-secret": "a-secret-of-the-replicas",
    "ledger": "postgresql://quell:pw@postgres/quell?sslmode=verify-full",
}
TWINS = {"api_key": "api_key_file", "hash": "hash_file", "token": "token_file", "secret": "secret_file"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def pod() -> dict[str, Any]:
    """The gateway's pod."""
    spec: dict[str, Any] = GATEWAY.one("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """Its only container."""
    [found] = pod()["containers"]
    assert isinstance(found, dict)
    return found


def config() -> str:
    """The config file that it mounts."""
    text: str = GATEWAY.one("ConfigMap", "quell-gateway")["data"]["quell.yaml"]
    return text


def settings(folder: Path) -> Settings:
    """What the program makes of it in such a pod, without a warning."""
    [mount] = [each for each in container()["volumeMounts"] if each["name"] == "secrets"]
    [volume] = [each["secret"] for each in pod()["volumes"] if each["name"] == "secrets"]
    for item in volume["items"]:
        file = folder / item["path"]
        file.write_text(SECRETS[item["key"]])
        file.chmod(volume["defaultMode"])
    environ = {}
    for each in container()["env"]:
        source = each.get("valueFrom", {})
        name = source.get("secretKeyRef", {}).get("key")
        environ[each["name"]] = SECRETS[name] if name else each.get("value", "quell-5d4f8b7c9-abcde")
    file = folder / "quell.yaml"
    file.write_text(config().replace(mount["mountPath"], str(folder)))
    loaded = load(file, environ)
    assert loaded.settings is not None, loaded.problems
    assert not loaded.warnings
    return loaded.settings


def without_secrets(value: Any) -> Any:
    """A config's data, with a mark in place of each secret, wherever it comes from."""
    if isinstance(value, dict):
        files = {file: key for key, file in TWINS.items()}
        named = {files.get(key, key): each for key, each in value.items()}
        return {key: "a secret" if key in TWINS else without_secrets(each) for key, each in named.items()}
    return list(map(without_secrets, value)) if isinstance(value, list) else value


def test_config_is_the_example() -> None:
    """The config says what config/replicas.yaml says, but for where secrets come from."""
    ours, example = (without_secrets(yaml.safe_load(text)) for text in (config(), CONFIG.read_text()))
    for each in (ours, example):
        each["ledger"]["url"] = "a secret"
    assert ours == example


def test_pod_sets_what_the_config_asks_for(tmp_path: Path) -> None:
    """Every secret is there, those that can be are files, and the container's ports are those that are listened on."""
    found = settings(tmp_path)
    assert found.replica == "quell-5d4f8b7c9-abcde"
    assert found.ledger.url == SECRETS["ledger"]
    assert found.admin.token is not None
    assert found.admin.token.get_secret_value() == SECRETS["admin-token"]
    from_environment = [each["valueFrom"]["secretKeyRef"]["key"] for each in container()["env"] if secret_of(each)]
    assert from_environment == ["ledger"]
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    assert ports == {"http": found.listen.port, "admin": found.admin.listen.port}
    assert str(found.ledger.spool.parent) in {".", *(each["mountPath"] for each in container()["volumeMounts"])}


def secret_of(variable: dict[str, Any]) -> bool:
    """Whether a variable of the environment is a secret."""
    return "secretKeyRef" in variable.get("valueFrom", {})


def test_the_commands_that_make_the_secret_make_all_of_it() -> None:
    """The command in the kustomization's head makes every key of the secret that the pod asks for."""
    head = (DEPLOY / "kubernetes" / "overlays" / "gateway" / "kustomization.yaml").read_text()
    assert [key for key in SECRETS if f"--from-literal={key}=" not in head] == []
    [volume] = [each["secret"] for each in pod()["volumes"] if each["name"] == "secrets"]
    assert {each["key"] for each in volume["items"]} == set(SECRETS) - {"ledger"}


def test_pod_waits_for_the_drain(tmp_path: Path) -> None:
    """The grace period holds preStop, the drain and the last records; a new pod is ready before one goes."""
    drain = settings(tmp_path).drain
    slept = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod()["terminationGracePeriodSeconds"] >= slept + drain.ready_delay + drain.timeout + LAST_RECORDS
    assert GATEWAY.one("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_pod_is_probed_where_it_answers() -> None:
    """Readiness and liveness are asked at the admin listener, and liveness knows nothing of the drain."""
    asked = {probe: container()[probe]["httpGet"] for probe in PROBES}
    assert asked["startupProbe"] == asked["readinessProbe"] == {"path": "/readyz", "port": "admin"}
    assert asked["livenessProbe"] == {"path": "/livez", "port": "admin"}


def test_a_pod_that_drains_is_turned_away_from_in_time(tmp_path: Path) -> None:
    """The readiness probe fails before the ready delay is over, so that what comes meanwhile is still served."""
    probe, drain = container()["readinessProbe"], settings(tmp_path).drain
    assert probe["periodSeconds"] * probe["failureThreshold"] < drain.ready_delay


def test_pod_has_no_rights_that_it_does_not_need() -> None:
    """It runs as nobody, without capabilities or a token, on a file system that it can write in two places only."""
    own = container()["securityContext"]
    assert own["runAsUser"] == own["runAsGroup"] == pod()["securityContext"]["fsGroup"] == 65532
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["serviceAccountName"] == GATEWAY.one("ServiceAccount")["metadata"]["name"]
    assert pod()["automountServiceAccountToken"] is False
    assert GATEWAY.one("ServiceAccount")["automountServiceAccountToken"] is False
    writable = {each["mountPath"] for each in container()["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/var/lib/quell", "/tmp"}  # noqa: S108 a mount, no file of ours


def test_every_object_means_the_same_pods() -> None:
    """Services, disruption budget, spread and network policies select the pods of the Deployment."""
    deployment = GATEWAY.one("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"]
    selectors = [GATEWAY.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in GATEWAY.objects if each["kind"] == "Service"]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in policies().values()]
    selectors += [each["labelSelector"]["matchLabels"] for each in pod()["topologySpreadConstraints"]]
    assert [each for each in selectors if each != labels] == []


def policies() -> dict[str, Any]:
    """The network policies by name."""
    return {each["metadata"]["name"]: each for each in GATEWAY.objects if each["kind"] == "NetworkPolicy"}


def test_networks_let_through_what_is_needed() -> None:
    """Callers reach the one port, Prometheus the other; out go names, TLS, and the ports of the bus and the ledger."""
    names = {each["name"] for each in container()["ports"]}
    inside = {
        name: [port["port"] for rule in each["spec"].get("ingress", ()) for port in rule["ports"]]
        for name, each in policies().items()
    }
    assert inside == {"quell": ["http"], "quell-stores": [], "quell-metrics": ["admin"]}
    assert {port for ports in inside.values() for port in ports} == names
    out = {
        (name, port["port"])
        for name, each in policies().items()
        for rule in each["spec"].get("egress", ())
        for port in rule["ports"]
    }
    assert out == {("quell", 53), ("quell", 443), ("quell-stores", 6379), ("quell-stores", 5432)}
    assert all(rule["to"] for each in policies().values() for rule in each["spec"].get("egress", ()))
    assert policies()["quell"]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_it_scales_on_a_metric_that_there_is() -> None:
    """The autoscaler asks for the live generations by their name in the metrics, and never leaves one replica alone."""
    scaler = GATEWAY.one("HorizontalPodAutoscaler")["spec"]
    assert [each["pods"]["metric"]["name"] for each in scaler["metrics"]] == ["quell_generations_active"]
    assert "quell_generations_active" in {family.name for family in Metrics().registry.collect()}
    assert scaler["scaleTargetRef"]["name"] == GATEWAY.one("Deployment")["metadata"]["name"]
    assert "replicas" not in GATEWAY.one("Deployment")["spec"]
    assert scaler["minReplicas"] > GATEWAY.one("PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_prometheus_scrapes_where_metrics_are() -> None:
    """The monitor finds the Service of the admin port, which names the pods that drain too."""
    monitor, service = GATEWAY.one("ServiceMonitor")["spec"], GATEWAY.one("Service", "quell-metrics")
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"] != GATEWAY.one("Service", "quell")["metadata"]["labels"]
    [port], [endpoint] = service["spec"]["ports"], monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    assert port["targetPort"] == "admin"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "quell"


def test_alert_rules_are_those_of_prometheus() -> None:
    """The PrometheusRule has the very rules of deploy/prometheus/rules.yml."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    assert GATEWAY.one("PrometheusRule")["spec"] == rules, "run make monitoring"


def test_the_file_is_read_as_the_program_would(tmp_path: Path) -> None:
    """The config is a file of its own, whose name is that on the command line."""
    assert container()["args"] == ["serve", "--config", "/etc/quell/quell.yaml"]
    [mount] = [each for each in container()["volumeMounts"] if each["name"] == "config"]
    assert mount["mountPath"] == "/etc/quell"
    assert settings_of(DEPLOY / "quell.yaml").listen.port == settings(tmp_path).listen.port
