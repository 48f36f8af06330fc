"""The files that run the program elsewhere: read by the tools that know their formats, and held against the program."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.core.settings import DrainSettings
from support.chat import DONE, chat_events
from support.client import RawClient
from support.deploy_files import DEPLOY, LAST_RECORDS, seconds, settings_of, tool
from support.program import ROOT, config_text, running_program
from support.scripts import events_then_hang, hang
from support.stops import CHAT, STREAM
from support.upstream import scripted_upstream
from support.wait import eventually

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what follows them, continued lines joined."""
    joined = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def the_only(word: str) -> str:
    """What follows an instruction that must be there once."""
    found = [rest for each, rest in instructions() if each == word]
    assert len(found) == 1, f"{word}: {found}"
    return found[0]


def sidecar() -> tuple[dict[str, Any], dict[str, Any]]:
    """The config map and the deployment of the sidecar."""
    config, deployment = yaml.safe_load_all((DEPLOY / "kubernetes" / "sidecar.yaml").read_text())
    return config, deployment


def test_dockerfile_has_no_findings() -> None:
    """Hadolint finds nothing to say about the Dockerfile."""
    assert not tool("hadolint", "deploy/Dockerfile")


def test_image_runs_as_a_numbered_user_and_takes_signals() -> None:
    """The image's user is a number that is not root, and its entry point is the program itself, without a shell."""
    assert the_only("USER") == "65532:65532"
    assert json.loads(the_only("ENTRYPOINT")) == ["quell"]
    assert json.loads(the_only("CMD")) == ["serve", "--config", "/etc/quell/quell.yaml"]
    assert the_only("STOPSIGNAL") == "SIGTERM"
    assert json.loads(the_only("HEALTHCHECK").partition(" CMD ")[2]) == ["quell", "health"]


def test_image_is_made_from_files_that_are_there_and_let_in() -> None:
    """Every file that the Dockerfile copies exists, and its ignore file lets it through."""
    let_in = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    for word, rest in instructions():
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == each or source.startswith(each + "/") for each in let_in), source


def test_config_of_the_image() -> None:
    """The image's own config is valid, reachable from outside, and holds no credential that strangers could spend."""
    settings = settings_of(DEPLOY / "quell.yaml")
    assert not settings.listen.is_loopback
    assert settings.admin.listen.is_loopback
    assert all(upstream.api_key is None for upstream in settings.upstreams.values())
    assert settings.ledger.url == f"sqlite:///{the_only('VOLUME')}/quell.db"
    assert the_only("EXPOSE").split() == [str(settings.listen.port), str(settings.admin.listen.port)]


def test_compose_file_is_valid() -> None:
    """The compose file fits the schema of the compose specification."""
    assert not tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_compose_waits_for_the_drain() -> None:
    """Docker kills only after the drain and the last records had their time."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["quell"]
    drain = DrainSettings()
    assert seconds(service["stop_grace_period"]) >= drain.ready_delay + drain.timeout + LAST_RECORDS


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_sidecar_is_valid(version: str) -> None:
    """The manifests fit the API of the first Kubernetes that has native sidecars by default, and of a new one."""
    assert not tool("kubernetes-validate", "--strict", "-k", version, "deploy/kubernetes/sidecar.yaml")


def test_sidecar_is_native_and_is_waited_for() -> None:
    """The sidecar outlives the application, is probed before it starts, and has time for its drain."""
    pod = sidecar()[1]["spec"]["template"]["spec"]
    container = pod["initContainers"][0]
    assert container["restartPolicy"] == "Always"
    assert container["startupProbe"]["exec"]["command"] == ["quell", "health"]
    assert container["readinessProbe"]["exec"]["command"] == ["quell", "health"]
    drain = settings_of(ROOT / "config" / "sidecar.yaml").drain
    assert pod["terminationGracePeriodSeconds"] >= drain.ready_delay + drain.timeout + LAST_RECORDS


def test_sidecar_has_the_example_config(tmp_path: Path) -> None:
    """The config in the manifest says what config/sidecar.yaml says, and puts the ledger on its volume."""
    text = sidecar()[0]["data"]["quell.yaml"]
    assert yaml.safe_load(text) == yaml.safe_load((ROOT / "config" / "sidecar.yaml").read_text())
    file = tmp_path / "quell.yaml"
    file.write_text(text)
    container = sidecar()[1]["spec"]["template"]["spec"]["initContainers"][0]
    environ = {each["name"]: each["value"] for each in container["env"]}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    url = settings_of(file, **environ).ledger.url
    assert str(Path(url.removeprefix("sqlite:///")).parent) in mounts


@asynccontextmanager
async def nginx_in_front(port: int, folder: Path) -> AsyncIterator[int]:
    """Run nginx with the example's server in front of a proxy's port, and give nginx' own port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = int(free.getsockname()[1])
    example = (DEPLOY / "nginx" / "quell.conf").read_text()
    assert "server 127.0.0.1:8484;" in example
    assert "listen 8080;" in example
    server = example.replace("127.0.0.1:8484", f"127.0.0.1:{port}").replace("listen 8080", f"listen 127.0.0.1:{own}")
    (folder / "quell.conf").write_text(server)
    paths = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {paths} include {folder}/quell.conf; }}\n"
    )
    command = ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(main)]
    tested = await asyncio.create_subprocess_exec(*command, "-t", stderr=asyncio.subprocess.PIPE)
    _, said = await tested.communicate()
    assert tested.returncode == 0, said.decode()
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: _answers(own), what="nginx listens")
        yield own
    finally:
        process.terminate()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@needs_nginx
async def test_a_stop_passes_nginx(tmp_path: Path) -> None:
    """Behind the example's nginx a stop closes the upstream, and the client's stream ends properly at once."""
    async with (
        scripted_upstream(events_then_hang(chat_events(3)[:-2])) as up,
        running_program(config_text(up.base_url), tmp_path) as program,
        nginx_in_front(program.port, tmp_path) as port,
        RawClient(port) as client,
        RawClient(port) as other,
    ):
        await client.post(CHAT, STREAM, [("X-Task-Id", "behind-nginx")])
        await client.until(b"data: ", count=3)
        await other.post("/v1/generations/behind-nginx/cancel")
        assert (await other.answer()).json()["result"] == "stopped"
        assert (await client.answer()).body.endswith(DONE)
        await up.no_connections()


@needs_nginx
async def test_a_departure_passes_nginx(tmp_path: Path) -> None:
    """Behind the example's nginx a client that leaves is seen to leave, also while the upstream is silent."""
    async with (
        scripted_upstream(hang()) as up,
        running_program(config_text(up.base_url), tmp_path) as program,
        nginx_in_front(program.port, tmp_path) as port,
    ):
        async with RawClient(port) as client:
            await client.post(CHAT, STREAM)
            await up.conn()
        await up.no_connections()


def test_scripts_can_be_read_and_run() -> None:
    """The scripts of the build are executable, and their shells can read them."""
    for script in sorted((ROOT / ".ci").iterdir()):
        shell = script.read_text().splitlines()[0].split("/")[-1].removeprefix("env ")
        assert os.access(script, os.X_OK), script
        done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
