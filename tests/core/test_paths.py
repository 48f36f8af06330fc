"""Request targets: what is let in, and that what is let in stays below the upstream's path."""

from posixpath import normpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from proxy.core.errors import Refusal
from proxy.core.paths import join, safe_target


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        ("/", "/", ""),
        ("/v1/chat/completions", "/v1/chat/completions", ""),
        ("/v1/models/", "/v1/models/", ""),
        ("/v1/models/ft:gpt-4o@x,y", "/v1/models/ft:gpt-4o@x,y", ""),
        ("/a/...", "/a/...", ""),
        ("/.well-known/x", "/.well-known/x", ""),
        ("/a%20b/%C3%A9", "/a%20b/%C3%A9", ""),
        ("/a?", "/a", ""),
        ("/a?b=../..&c=//d&e=%2f%2E?f", "/a", "b=../..&c=//d&e=%2f%2E?f"),
        ("/a?x=[1]{2}\\|'\"", "/a", "x=[1]{2}\\|'\""),
    ],
)
def test_plain_targets_pass_unchanged(raw: str, path: str, query: str) -> None:
    """Path and query come back byte for byte."""
    assert safe_target(raw) == (path, query)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "*",
        "v1",
        "http://a/v1",
        "//a/v1",
        "/v1//a",
        "/v1/..",
        "/../v1",
        "/v1/./a",
        "/v1/%2e%2e/a",
        "/v1/.%2E/a",
        "/v1/%2e",
        "/v1/a%2fb",
        "/v1/a%5Cb",
        "/v1\\a",
        "/v1/%00",
        "/v1/%0d%0a",
        "/v1/%7f",
        "/v1/%252e%252e/a",
        "/v1/%",
        "/v1/%zz",
        "/v1;a=b/c",
        "/v1%3Ba",
        "/v1/..;/a",
        "/v1#a",
        "/v1?a#b",
        "/v1 a",
        "/v1\ta",
        "/v1/\x00",
        "/é",
        "/\udc80",
        "/v1?é",
        "/v1?a b",
        "/v1?a=%00",
        "/v1?a=%",
        "/v1/a\n",
        "/v1?a\n",
    ],
)
def test_ambiguous_targets_are_refused(raw: str) -> None:
    """Whatever two servers could read as two paths is refused with 400, and not quoted (Z10)."""
    with pytest.raises(Refusal) as refused:
        safe_target(raw)
    assert (refused.value.status, refused.value.code) == (400, "invalid_path")


@given(st.text(alphabet="/.%25efEF\\;?#ab~ \x00é", max_size=20))
def test_nothing_that_passes_climbs_out(rest: str) -> None:
    """Any accepted path means the same raw, decoded once or twice, normalized or not, so it stays below its prefix."""
    try:
        path, query = safe_target("/v1/" + rest)
    except Refusal:
        return
    url = join("https://up.example/base", path, query)
    assert str(URL(url, encoded=True)) == url
    assert URL(url, encoded=True).raw_path == "/base" + path
    for read in (path, unquote(path), unquote(unquote(path))):
        assert normpath(read) == read.rstrip("/")
        assert read.count("/") == path.count("/")


@pytest.mark.parametrize(
    ("base", "rest", "query", "url"),
    [
        ("https://a/v1", "/b", "", "https://a/v1/b"),
        ("https://a/v1/", "/b", "c=%20", "https://a/v1/b?c=%20"),
        ("https://a", "", "", "https://a"),
    ],
)
def test_join_keeps_every_byte(base: str, rest: str, query: str, url: str) -> None:
    """The upstream's URL is base, rest and query with exactly one slash between the first two."""
    assert join(base, rest, query) == url
