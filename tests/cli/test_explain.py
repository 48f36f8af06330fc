from pathlib import Path

import pytest

from proxy.cli.explain import explain
from support.config_files import SMALLEST, load_text

ROUTES = f"""\
{SMALLEST}\
  - path: /v1/local
    dialect: openai
    upstream: openai
    only: [/chat/completions]
  - path: /dify
    dialect: dify
    upstream: openai
"""


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        (
            "POST",
            "/v1/chat/completions",
            [
                "  route     /v1 (routes[0], line 6, dialect openai)",
                "  upstream  openai",
                "  goes to   https://api.openai.com/v1/chat/completions",
                "  why       /v1 is the only route that begins it",
            ],
        ),
        (
            "POST",
            "/v1/local/chat/completions",
            [
                "  route     /v1/local (routes[1], line 9, dialect openai)",
                "  upstream  openai",
                "  goes to   https://api.openai.com/v1/chat/completions",
                "  why       /v1/local is the longest route that begins it, before /v1",
            ],
        ),
        (
            "GET",
            "/v1/local/files",
            [
                "  route     /v1/local (routes[1], line 9, dialect openai)",
                (
                    "  why       /v1/local is the longest route that begins it, before /v1; "
                    "answered with 403: its only list does not have /files"
                ),
            ],
        ),
        (
            "POST",
            "/dify/completion-messages",
            [
                "  route     /dify (routes[2], line 13, dialect dify)",
                "  upstream  openai",
                (
                    "  why       /dify is the only route that begins it; "
                    "the dialect dify serves it; its model calls go to https://api.openai.com/v1/chat/completions"
                ),
            ],
        ),
        (
            "POST",
            "/dify/chat-messages/t-1/stop",
            [
                "  route     /dify (routes[2], line 13, dialect dify)",
                "  upstream  openai",
                (
                    "  why       /dify is the only route that begins it; "
                    "the dialect dify serves it; its model calls go to https://api.openai.com/v1/chat/completions"
                ),
            ],
        ),
        (
            "GET",
            "/dify/conversations",
            [
                "  route     /dify (routes[2], line 13, dialect dify)",
                "  upstream  openai",
                (
                    "  why       /dify is the only route that begins it; "
                    "the dialect dify serves it; its model calls go to https://api.openai.com/v1/chat/completions"
                ),
            ],
        ),
        (
            "POST",
            "/dify/chat/completions",
            [
                "  route     /dify (routes[2], line 13, dialect dify)",
                (
                    "  why       /dify is the only route that begins it; "
                    "answered with 404: There is nothing with this id or path."
                ),
            ],
        ),
        (
            "GET",
            "/v1x",
            [
                "  route     none",
                "  why       answered with 404: no route's path begins it (routes: /v1, /v1/local, /dify)",
            ],
        ),
    ],
)
def test_a_request_is_explained(tmp_path: Path, method: str, path: str, told: list[str]) -> None:
    """Route, upstream, URL and reason, as the server would do it."""
    loaded = load_text(tmp_path, ROUTES)
    assert loaded.settings is not None
    assert explain(loaded.settings, loaded.positions, method, path).lines() == [f"{method} {path}", *told]


@pytest.mark.parametrize(
    ("method", "path", "ours"),
    [
        ("GET", "/v1/generations", True),
        ("POST", "/v1/generations/x/cancel", True),
        ("POST", "/v1/chat/completions/x/cancel", True),
        ("POST", "/v1/responses/x/cancel", False),
        ("POST", "/v1/chat/completions", False),
        ("POST", "/v1/generationsx", False),
        ("POST", "/v1/messages/x/cancel", False),
    ],
)
def test_what_never_goes_upstream_is_told(tmp_path: Path, method: str, path: str, ours: bool) -> None:
    """The control API and the stop routes are answered here."""
    loaded = load_text(tmp_path, SMALLEST)
    assert loaded.settings is not None
    explanation = explain(loaded.settings, loaded.positions, method, path)
    assert ("Quell answers it itself" in explanation.why, explanation.url is None) == (ours, ours)


@pytest.mark.parametrize(
    ("wire_format", "dialect", "path", "url"),
    [
        ("anthropic", "anthropic", "/messages", "/messages"),
        ("anthropic", "anthropic", "/messages/x/cancel", None),
        ("openai", "[anthropic, openai]", "/chat/completions/x/cancel", None),
        ("openai", "[anthropic, openai]", "/models", "/models"),
        ("gemini", "openai", "/models/m:generateContent", "/models/m:generateContent"),
        ("gemini", "openai", "/chat/completions/x/cancel", None),
    ],
)
def test_other_formats_are_explained(
    tmp_path: Path, wire_format: str, dialect: str, path: str, url: str | None
) -> None:
    """What a route serves by its dialects and its upstream's format is told as the server does it."""
    text = SMALLEST.replace("routes:", f"    format: {wire_format}\nroutes:").replace(
        "dialect: openai", f"dialect: {dialect}"
    )
    loaded = load_text(tmp_path, text)
    assert loaded.settings is not None
    explanation = explain(loaded.settings, loaded.positions, "POST", f"/v1{path}")
    assert explanation.url == (f"https://api.openai.com/v1{url}" if url else None)


def test_what_is_refused_by_its_path_is_told(tmp_path: Path) -> None:
    """A stop route asked for by another method, and a model call in other letters, never go upstream."""
    loaded = load_text(tmp_path, SMALLEST)
    assert loaded.settings is not None
    for method, path, status in (
        ("GET", "/v1/chat/completions/x/cancel", 405),
        ("POST", "/v1/chat/Completions", 404),
    ):
        explanation = explain(loaded.settings, loaded.positions, method, path)
        assert (f"answered with {status}" in explanation.why, explanation.url) == (True, None)


def test_a_slash_allows_everything(tmp_path: Path) -> None:
    """An `only` list with the root in it lets every path pass, as the server does."""
    loaded = load_text(tmp_path, f"{SMALLEST}    only: [/]\n")
    assert loaded.settings is not None
    explanation = explain(loaded.settings, loaded.positions, "GET", "/v1/files")
    assert explanation.url == "https://api.openai.com/v1/files"


def test_a_path_that_the_server_refuses_is_told(tmp_path: Path) -> None:
    """Dot segments reach no route."""
    loaded = load_text(tmp_path, SMALLEST)
    assert loaded.settings is not None
    explanation = explain(loaded.settings, loaded.positions, "GET", "/v1/../x")
    assert explanation.route is None
    assert explanation.why.startswith("answered with 400")
