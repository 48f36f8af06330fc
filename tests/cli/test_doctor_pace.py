"""`quell doctor` and the pace of streams, looked at as long as users look; in front of the proxy real programs too."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.balancer import quiet_port
from support.doctor import NOWHERE, a_proxy, found
from support.front import Ways, a_front
from support.wait import eventually

PLACES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin"
NGINX, HAPROXY = shutil.which("nginx", path=PLACES), shutil.which("haproxy", path=PLACES)

HAPROXY_CONFIG = """
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    {ways}
listen front
    bind 127.0.0.1:{port}
    server quell 127.0.0.1:{target}
"""

NGINX_CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{target}; {ways} }} }}
}}
"""


async def test_a_front_that_gathers_pieces(tmp_path: Path) -> None:
    """Events that come in bunches are seen as such, with the proxy's own view and without it."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(gathers=4000)) as front:
        for admin in (proxy.admin_url, NOWHERE):
            code, checks = await found(front.url, admin=admin)
            assert (code, checks["stream"]["verdict"]) == (1, "fail"), checks
            assert "gathers them" in checks["stream"]["told"]
            assert any("proxy_buffering off" in line for line in checks["stream"]["advice"])
            assert checks["disconnect"]["verdict"] == "ok"


@asynccontextmanager
async def nginx(folder: Path, target: int, ways: str) -> AsyncIterator[str]:
    """A real nginx in front of a port."""
    assert NGINX is not None
    port = quiet_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX_CONFIG.format(folder=folder, port=port, target=target, ways=ways))
    async with listening(port, NGINX, "-p", str(folder), "-c", str(file)) as url:
        yield url


@asynccontextmanager
async def haproxy(folder: Path, target: int, ways: str) -> AsyncIterator[str]:
    """A real HAProxy in front of a port."""
    assert HAPROXY is not None
    port = quiet_port()
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY_CONFIG.format(port=port, target=target, ways=ways))
    async with listening(port, HAPROXY, "-db", "-f", str(file)) as url:
        yield url


@asynccontextmanager
async def listening(port: int, *command: str) -> AsyncIterator[str]:
    """A program that listens on a port; gives its address."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: _answers(port), what=f"{command[0]} listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt-get install nginx)")
@pytest.mark.parametrize(
    ("ways", "code", "wrong"),
    [
        ("", 0, set()),
        ("proxy_ignore_client_abort on;", 6, {"early disconnect"}),  # amid a stream nginx fails at its next write
        ("proxy_ignore_headers X-Accel-Buffering;", 1, {"stream"}),
        ("proxy_hide_header X-Task-Id;", 1, {"ids"}),
    ],
)
async def test_a_real_nginx(tmp_path: Path, ways: str, code: int, wrong: set[str]) -> None:
    """What nginx does wrong is found, and by its own words it is told what to change."""
    async with a_proxy(tmp_path) as (proxy, _), nginx(tmp_path, proxy.port, ways) as url:
        got, checks = await found(url, "--wait", "3s", admin=proxy.admin_url)
        failed = {name for name, check in checks.items() if check["verdict"] == "fail"}
        assert (got, failed) == (code, wrong), checks
        assert all(check["advice"][0].startswith("nginx: ") for check in checks.values() if check["name"] in wrong)


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed (Debian: apt-get install haproxy)")
@pytest.mark.parametrize(
    ("ways", "code", "wrong"),
    [
        ("option abortonclose\n    option http-no-delay", 0, set()),
        ("no option abortonclose\n    option http-no-delay", 6, {"early disconnect"}),
    ],
)
async def test_a_real_haproxy(tmp_path: Path, ways: str, code: int, wrong: set[str]) -> None:
    """HAProxy leaves no trace of itself: what to change is said for it and for nginx."""
    async with a_proxy(tmp_path) as (proxy, _), haproxy(tmp_path, proxy.port, ways) as url:
        got, checks = await found(url, "--wait", "3s", admin=proxy.admin_url)
        failed = {name for name, check in checks.items() if check["verdict"] == "fail"}
        assert (got, failed) == (code, wrong), checks
        assert all("HAProxy: option abortonclose" in checks[name]["advice"] for name in wrong)
