"""The YAML that the pages show: each piece, put into the smallest config file, is taken."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli.init import SMALLEST
from proxy.config_file import load
from support.documents import DOCS, Block, blocks, documents
from support.program import ROOT
from support.vocabulary import tokenizer_json

SECRET = "0123456789abcdef" * 4
VARIABLES = {
    "OPENAI_API_KEY": "sk-of-the-tests",
    "LITELLM_KEY": "sk-of-litellm",
    "OTEL_TOKEN": "token-of-the-collector",
    "QUELL_PG_PASSWORD": "secret",
    "QUELL_KEY_SHA256": SECRET,
    "SEARCH_KEY_SHA256": SECRET[::-1],
}
OTHERS = ("compose", "litellm")
"""Files of other programs."""


def file_of(block: Block) -> str:
    """Which file a piece is of, as its first line says; Quell's own where it says nothing."""
    found = re.match(r"# (\w+)\.yaml\n", block.text)
    return found[1] if found else "quell"


PIECES = [each for document in documents() for each in blocks(document) if each.language == "yaml"]
PRICES = [each for each in PIECES if file_of(each) == "prices"]
SETTINGS = [each for each in PIECES if file_of(each) not in ("prices", *OTHERS)]


def named(block: Block) -> str:
    """A piece's name for the list of tests."""
    return f"{block.document.stem}:{block.text.split(':', 1)[0].splitlines()[-1]}"


def completed(shown: dict[str, Any]) -> dict[str, Any]:
    """A whole config file around a piece of one: what it names and does not have is added."""
    whole = {**yaml.safe_load(SMALLEST), **shown}
    if "routes" not in shown:
        whole["routes"] = [{"path": f"/{name}", "dialect": "openai", "upstream": name} for name in whole["upstreams"]]
    for route in whole["routes"]:
        whole["upstreams"].setdefault(route["upstream"], {"base_url": "http://127.0.0.1:9/v1"})
    return whole


def problems(config: dict[str, Any], folder: Path) -> list[str]:
    """What is wrong with a config file, in a folder that has the files it names."""
    (folder / "prices.yaml").write_text(PRICES[0].text)
    tokenizer_json(folder / "llama3.json")
    (folder / "secret").write_text(SECRET)
    (folder / "acme.sha256").write_text(f"{SECRET}  -\n")
    file = folder / "quell.yaml"
    file.write_text(re.sub(r"/run/secrets/[\w.]+", "secret", yaml.safe_dump(config)))
    return [str(each) for each in load(file, VARIABLES).problems]


@pytest.mark.parametrize("block", SETTINGS, ids=named)
def test_settings_that_are_shown_are_valid(block: Block, tmp_path: Path) -> None:
    """A piece of a config file is taken, in a file that has the rest."""
    shown = yaml.safe_load(block.text)
    assert problems(completed(shown), tmp_path) == []


@pytest.mark.parametrize("block", PRICES, ids=named)
def test_prices_that_are_shown_are_valid(block: Block, tmp_path: Path) -> None:
    """A price file is taken, in a config file that has its upstreams."""
    config = yaml.safe_load(SMALLEST) | {"prices": {"file": "shown.yaml"}}
    config["upstreams"]["local"] = {"base_url": "http://127.0.0.1:9/v1"}
    (tmp_path / "shown.yaml").write_text(block.text)
    assert problems(config, tmp_path) == []


def test_a_wrong_piece_would_be_found(tmp_path: Path) -> None:
    """A key that does not exist is a problem."""
    assert problems(completed({"limit": {"streams": 5}}), tmp_path)


def other(name: str) -> dict[str, Any]:
    """The file of another program that the pages show."""
    (found,) = [yaml.safe_load(each.text) for each in PIECES if file_of(each) == name]
    assert isinstance(found, dict)
    return found


def test_the_fronts_have_what_their_page_says() -> None:
    """What the page asks of nginx and HAProxy stands in the files for them."""
    rows = re.findall(r"^\| .* \| .* \| (.*) \| (.*) \|$", (DOCS / "howto" / "fronts.md").read_text(), re.MULTILINE)
    files = [ROOT / "deploy" / "nginx" / "quell.conf", ROOT / "deploy" / "haproxy" / "haproxy.cfg"]
    for column, file in enumerate(files):
        text = file.read_text()
        asked = [each for row in rows for each in re.findall(r"`(.*?)`", row[column])]
        assert len(asked) > 2
        assert [each for each in asked if each not in text] == []
