from pathlib import Path

import pytest

from support.config_files import SMALLEST, load_text, problems

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the file is empty; `quell init` writes a small one to start from"),
        ("# nothing\n", "1:1: the file is empty; `quell init` writes a small one to start from"),
        ("- a\n", "1:1: expected keys and values, such as version: 1"),
        ("a:\n\tb: 1\n", "2:1: a tab; YAML is indented with blanks only"),
        ("a: @x\n", "1:4: a value can't start with @; put it in quotes"),
        ("a: b: c\n", "1:5: a colon out of place"),
        ("a: {b: ${C}}\n", '1:9: inside { } and [ ], ${…} must stand in quotes: "${…}"'),
        ("listen: [::1]:80\n", "1:10: a value is missing or broken here"),
        ("a: [1\nb: 2\n", "2:2: not valid YAML: did not find expected ',' or ']' (in what began on line 1)"),
        ("a: *x\n", "1:4: the alias *x has no anchor &x that ends before it"),
        ("a: &x [*x]\n", "1:8: the alias *x has no anchor &x that ends before it"),
        ("a: 1\n--- \nb: 1\n", "2:1: a second document (---) in the file; only one is read"),
        ("[" * 100_000, "1:34: nested more than 32 levels deep"),
        (b"a: \xff\n", "1:4: not UTF-8; save the file as UTF-8"),
        ("a: 1\r\nb: ä\x00\n", "2:5: a control character (U+0000)"),
        ("a: 1\n".encode("utf-16"), "1:1: not UTF-8; save the file as UTF-8"),
        (b"#" * (2**20 + 1), "1:1: the file has 1048577 bytes; at most 1048576 (1 MiB) are read"),
        ("a: [" + "1," * 300_000 + "]", "1:399999: more than 200000 values, with aliases written out"),
        ("a: &a 1\nb: [" + "*a," * 101 + "]", "2:305: more than 100 aliases"),
        (BOMB, "6:15: more than 200000 values, with aliases written out"),
    ],
)
def test_what_is_no_plain_yaml_is_one_located_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Unreadable text, and text that is small but means a giant, gives one error at its place."""
    found = problems(load_text(tmp_path, text))
    assert len(found) == 1
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("version: 1", "9:1: duplicate key 'version', first on line 1; keep one of them"),
        ('"version": 1', "9:1: duplicate key 'version', first on line 1; keep one of them"),
        ("<<: {workers: 1}", "9:1: merge keys (<<) are not read here; write the keys out"),
        ("workers: !!int 1", "9:10: tags are not read here; remove the !!int, and put text in quotes"),
        ("replica: !mine x", "9:10: tags are not read here; remove the !mine, and put text in quotes"),
        ("? [a]\n: b", "9:3: a key must be a single word; text with { or [ in it stands in quotes"),
    ],
)
def test_what_yaml_allows_and_people_do_not_mean_is_refused(tmp_path: Path, line: str, message: str) -> None:
    """A second value for a key, merging, tags and odd keys are errors that don't hide others."""
    assert problems(load_text(tmp_path, f"{SMALLEST}{line}\n")) == [message]


@pytest.mark.parametrize("before", ["\ufeff", "# comment\n---\n", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_how_an_editor_saves_does_not_matter(tmp_path: Path, before: str, end: str) -> None:
    """A byte order mark, Windows line ends and a document's start are no errors."""
    assert problems(load_text(tmp_path, (before + SMALLEST).replace("\n", end))) == []


def test_an_anchor_may_be_used_again(tmp_path: Path) -> None:
    """The same value twice need not be written twice."""
    text = SMALLEST.replace(
        "    base_url: https://api.openai.com/v1", "    &same\n    base_url: https://h/v1\n  b: *same"
    )
    loaded = load_text(tmp_path, text)
    assert loaded.settings is not None
    assert {name: upstream.name for name, upstream in loaded.settings.upstreams.items()} == {
        "openai": "openai",
        "b": "b",
    }
