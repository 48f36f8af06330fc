"""What the program prints when it serves."""

from pathlib import Path

import pytest

from proxy.cli.banner import OTHERS_CAN_REACH, Page, banner
from proxy.cli.by_hand import by_hand
from proxy.cli.demo_settings import demo_settings
from proxy.config_file import load
from proxy.core.settings.settings import Address
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


@pytest.mark.parametrize(
    ("host", "pages", "expected"),
    [
        ("127.0.0.1", [Page(8485, "a-code")], []),
        ("127.0.0.1", [Page(8485)], ["  token     {token}   <- has what logs in"]),
        ("127.0.0.1", [Page(8485), Page(8486)], ["  token     {token}   <- has what logs in"]),
        (
            "0.0.0.0",
            [Page(8485, "a-code")],
            ["  token     {token}   <- has what logs in", f"            {OTHERS_CAN_REACH}"],
        ),
    ],
)
def test_the_banner_says_which_token_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, pages: list[Page], expected: list[str]
) -> None:
    """The file of a token that was made is named where no link lets in, and where others can reach the listener."""
    monkeypatch.chdir(tmp_path)
    settings = by_hand(demo_settings({}), Address("127.0.0.1", 8484), Address(host, 8485))
    lines = banner(settings, "one", 8484, pages, "m", None).splitlines()
    found = [line for line in lines if line.startswith("  token") or OTHERS_CAN_REACH in line]
    assert found == [line.format(token=tmp_path / "quell.db.admin_token") for line in expected]


def test_a_chosen_token_is_not_looked_for(tmp_path: Path) -> None:
    """Where the settings name a token, the banner speaks of none."""
    file = tmp_path / "quell.yaml"
    file.write_text(SMALLEST + "admin: {token: 0123456789abcdef, listen: '0.0.0.0:8485'}\n")
    settings = load(file, {}).settings
    assert settings is not None
    assert "token" not in banner(settings, "one", 8484, [Page(8485)], "m", None).partition("try it")[0]
