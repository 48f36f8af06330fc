"""Tests of vocabulary files: what operators supply is read, and what can't be is refused in words."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config_file import vocabulary
from proxy.config_file.vocabulary import VocabularyError, read_vocabulary
from support.config_files import SMALLEST, load_text, problems
from support.vocabulary import sentencepiece, tiktoken, tokenizer_json


def config(encoding: str) -> str:
    """The smallest config with this encoding."""
    return SMALLEST.replace("routes:", f"    encoding: {encoding}\nroutes:")


@pytest.mark.parametrize("make", [tokenizer_json, tiktoken])
def test_a_vocabulary_of_the_operator_counts(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Hugging Face's and tiktoken's files are told apart by what is in them, not by their names."""
    found = read_vocabulary(make(tmp_path / "any.name"))
    assert found.count("The rain") == 3  # The, a blank, rain
    assert found.count("x" * 7) == 7
    assert found.seam == 0


def test_a_vocabulary_that_begins_every_text_with_a_blank_is_known(tmp_path: Path) -> None:
    """SentencePiece's texts have a token more for each part they are cut into; the counter has to know it."""
    found = read_vocabulary(sentencepiece(tmp_path / "v.model"))
    assert (found.count("The rain fell"), found.count("The rain"), found.count(" fell")) == (3, 2, 2)
    assert found.seam == 1


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    """As long as it stays the same it is read once; a new version counts at once."""
    path = tokenizer_json(tmp_path / "v.json")
    first = read_vocabulary(path)
    assert read_vocabulary(path) is first
    tokenizer_json(path, merges=())
    os.utime(path, ns=(1, 1))
    assert read_vocabulary(path).count("Th") == 2


def test_a_file_counts_beside_the_config_and_a_table_by_models(tmp_path: Path) -> None:
    """Names of files start at the config file's folder; a table keeps its order and its other names."""
    path = tokenizer_json(tmp_path / "v.json")
    loaded = load_text(tmp_path, config('{"llama-3*": ./v.json, "*": cl100k_base}'))
    assert loaded.settings is not None, problems(loaded)
    assert loaded.settings.upstreams["openai"].encoding == {"llama-3*": str(path), "*": "cl100k_base"}
    assert path in loaded.files
    loaded = load_text(tmp_path, config("v.json"))
    assert loaded.settings is not None
    assert loaded.settings.upstreams["openai"].encoding == str(path)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("o200k_bse", "encoding: expected one of: auto, o200k_base, cl100k_base, voyage3_base; or a vocabulary file"),
        ('{"a*": o200kbase}', "encoding.a*: expected one of: auto, o200k_base"),
        ('""', "encoding: is empty"),
        ("{}", "encoding: expected auto, a name, a vocabulary file, or a table of these by patterns of model names"),
        ("[o200k_base]", "encoding: expected auto, a name, a vocabulary file, or a table"),
        ('{"a": [1]}', "encoding.a: expected auto, a name, or a vocabulary file"),
        ("./none.json", "none.json: can't be read (No such file or directory)"),
        ('{"a": ./none.json}', "none.json: can't be read (No such file or directory)"),
        ("./", "is no file"),
        ("./empty.json", "empty.json: is no vocabulary that can be read; the formats are tokenizer.json"),
        ("./broken.json", "broken.json: is no vocabulary that can be read; the formats are tokenizer.json"),
        ("./poor.json", "poor.json: has no token for plain English, so nothing can be counted with it"),
    ],
)
def test_what_is_no_vocabulary_is_an_error_of_the_config(tmp_path: Path, encoding: str, message: str) -> None:
    """Unknown names, missing and broken files: each is told at its place, and nothing is counted wrong in silence."""
    (tmp_path / "empty.json").touch()
    (tmp_path / "broken.json").write_bytes(b"\x00\x01{")
    poor = tokenizer_json(tmp_path / "poor.json").read_text()
    cut = poor[: poor.index('"vocab"')] + '"vocab": {"\u00e9": 0}, "merges": []}}'
    (tmp_path / "poor.json").write_text(cut)
    found = problems(load_text(tmp_path, config(encoding)))
    assert len(found) == 1
    assert found[0].startswith("5:")
    assert "upstreams.openai.encoding" in found[0]
    assert message in found[0]


def test_the_nearest_name_is_named(tmp_path: Path) -> None:
    """A misspelled encoding gets the right one."""
    assert problems(load_text(tmp_path, config("o200k_bse")))[0].endswith("(did you mean 'o200k_base'?)")


def test_a_vocabulary_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional package a vocabulary file is an error that says what to install."""
    monkeypatch.setitem(sys.modules, "kitoken", None)
    vocabulary._read.cache_clear()
    with pytest.raises(VocabularyError, match=r"pip install 'quell\[vocabularies\]'"):
        read_vocabulary(tokenizer_json(tmp_path / "v.json"))


@pytest.mark.parametrize("kind", ["large", "pipe"])
def test_no_file_that_is_no_vocabulary_is_read(tmp_path: Path, kind: str) -> None:
    """A file of a size that no vocabulary has, or a pipe that would never end, is not opened."""
    path = tmp_path / "v.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(vocabulary.LARGEST + 1)
    with pytest.raises(VocabularyError, match="no file" if kind == "pipe" else "MiB"):
        read_vocabulary(path)
