"""Which dialects and settings an upstream's format can serve."""

from pathlib import Path

import pytest

from support.config_files import SMALLEST, load_text, problems

WHOSE = "upstreams.openai has format:"


def config(wire_format: str, dialect: str, more: str = "") -> str:
    """The smallest file with an upstream of this format, and a route of this dialect."""
    text = SMALLEST.replace("routes:", f"    format: {wire_format}\nroutes:").replace(
        "dialect: openai", f"dialect: {dialect}"
    )
    return f"{text}    {more}\n" if more else text


@pytest.mark.parametrize(
    ("wire_format", "dialect", "more", "expected"),
    [
        (
            "gemini",
            "dify",
            "",
            f"8:14: routes[0].dialect: dify is made from OpenAI's chat completions, and {WHOSE} gemini",
        ),
        (
            "anthropic",
            "assistants",
            "",
            f"8:14: routes[0].dialect: assistants is made from OpenAI's chat completions, and {WHOSE} anthropic",
        ),
        (
            "anthropic",
            "[async_messages, anthropic]",
            "",
            f"8:14: routes[0].dialect: async_messages is made from OpenAI's chat completions, and {WHOSE} anthropic",
        ),
        ("gemini", "aitronos", "", "8:14: routes[0].dialect: aitronos is made from OpenAI's chat completions"),
        ("gemini", "anthropic", "", f"8:14: routes[0].dialect: anthropic passes Anthropic's API through, and {WHOSE}"),
        ("openai", "[openai, anthropic]", "", "8:14: routes[0].dialect: openai passes /messages on without reading it"),
        ("anthropic", "openai", "responses: emulate", "10:16: routes[0].responses: emulate needs OpenAI's chat"),
        ("gemini", "openai", "responses: emulate", "10:16: routes[0].responses: emulate needs OpenAI's chat"),
        (
            "gemini",
            "openai",
            "blocking: stream",
            f"10:15: routes[0].blocking: {WHOSE} gemini, whose non-streaming calls",
        ),
        ("gemini", "openai", "keepalive: 15s", f"10:16: routes[0].keepalive: {WHOSE} gemini, whose clients break"),
    ],
)
def test_what_a_format_cannot_serve(tmp_path: Path, wire_format: str, dialect: str, more: str, expected: str) -> None:
    """A route that asks its upstream for what it does not speak is one error, at the key that asks."""
    (found,) = problems(load_text(tmp_path, config(wire_format, dialect, more)))
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("wire_format", "dialect", "more"),
    [
        ("anthropic", "anthropic", "blocking: stream"),
        ("anthropic", "anthropic", "keepalive: 15s"),
        ("anthropic", "openai", ""),
        ("openai", "anthropic", ""),
        ("openai", "[anthropic, openai]", "responses: emulate"),
        ("openai", "[dify, anthropic, openai]", ""),
        ("gemini", "openai", ""),
    ],
)
def test_what_a_format_serves(tmp_path: Path, wire_format: str, dialect: str, more: str) -> None:
    """A provider's own API is passed through; one that speaks two of them is served by both dialects."""
    assert problems(load_text(tmp_path, config(wire_format, dialect, more))) == []
