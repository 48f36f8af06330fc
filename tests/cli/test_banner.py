"""What the program prints when it serves."""

from pathlib import Path

import pytest

from proxy.cli.banner import Page, banner
from proxy.config_file import load
from support.config_files import SMALLEST

BUS = 'bus: {url: "redis://quell:canary@valkey/2", secret: "0123456789abcdef"}\n'
LEDGER = "ledger: {url: 'postgresql://quell:canary@db/quell?sslmode=require', spool: /tmp/spool.db}\n"


@pytest.mark.parametrize(
    ("more", "ports", "expected"),
    [
        ("", [1], []),
        (BUS, [1], ["  bus       valkey:6379/2", "  replica   one"]),
        (BUS, [1, 2], ["  bus       valkey:6379/2", "  replica   one-1 to one-2"]),
        (LEDGER, [1], ["  ledger    PostgreSQL at db:5432/quell", "  replica   one"]),
    ],
)
def test_the_banner_says_where_others_are_met(tmp_path: Path, more: str, ports: list[int], expected: list[str]) -> None:
    """A replica of several says where its bus and its shared ledger are, and its name there; one alone does not."""
    file = tmp_path / "quell.yaml"
    file.write_text(SMALLEST + more)
    settings = load(file, {}).settings
    assert settings is not None
    said = banner(settings, "one", 8484, [Page(port) for port in ports], "m", None)
    assert "canary" not in said
    lines = [line for line in said.splitlines() if line.startswith(("  bus", "  ledger", "  replica"))]
    assert lines == expected
