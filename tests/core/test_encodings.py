"""Tests of proxy.core.encodings: which vocabulary a model's tokens are counted with."""

import pytest

from proxy.core.encodings import CL100K, O200K, VOYAGE3, EncodingSetting, each_encoding, encoding_for, shown

TABLE = {"llama-3*": "/etc/quell/llama3.json", "acme/*": CL100K, "gpt-4": "auto"}


@pytest.mark.parametrize(
    ("model", "setting", "expected"),
    [
        ("gpt-4o-mini", "auto", O200K),
        ("gpt-4.1", "auto", O200K),
        ("gpt-5-nano", "auto", O200K),
        ("gpt-oss-120b", "auto", O200K),
        ("o1-preview", "auto", O200K),
        ("o3", "auto", O200K),
        ("o4-mini", "auto", O200K),
        ("chatgpt-4o-latest", "auto", O200K),
        ("ft:gpt-4o-mini:acme::1", "auto", O200K),
        ("openai/GPT-4-turbo", "auto", CL100K),
        ("gpt-4", "auto", CL100K),
        ("gpt-35-turbo", "auto", CL100K),
        ("gpt-3.5-turbo", "auto", CL100K),
        ("voyage-3-large", "auto", VOYAGE3),
        ("llama-3", "auto", O200K),
        ("", "auto", O200K),
        ("gpt-4", O200K, O200K),
        ("Llama-3.1-8B", TABLE, "/etc/quell/llama3.json"),
        ("meta/llama-3.1", TABLE, "/etc/quell/llama3.json"),
        ("acme/gpt-4o", TABLE, CL100K),
        ("gpt-4", TABLE, CL100K),
        ("gpt-4o", TABLE, O200K),
        ("gpt-4", {"*": O200K, "gpt-4": CL100K}, O200K),
    ],
)
def test_the_model_says_the_encoding_unless_the_settings_do(
    model: str, setting: EncodingSetting, expected: str
) -> None:
    """`auto` goes by the model's name, the longer prefix first; of a table the first pattern that fits counts."""
    assert encoding_for(model, setting) == expected


def test_an_encoding_is_shown_without_its_folder() -> None:
    """A record names the vocabulary, not where this machine keeps it."""
    assert [shown(each) for each in each_encoding(TABLE)] == ["llama3.json", CL100K, "auto"]
    assert shown(O200K) == O200K
    assert list(each_encoding("auto")) == ["auto"]
