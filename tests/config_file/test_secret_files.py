from pathlib import Path

import pytest

from support.config_files import SMALLEST, load_text, problems, warnings

DIGEST = "ab" * 32
WITH_FILE = SMALLEST.replace("api.openai.com/v1\n", "api.openai.com/v1\n    api_key_file: key\n")


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """A file with this content and mode."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_every_secret_can_come_from_a_file(tmp_path: Path) -> None:
    """Each `*_file` is read beside the config file, without the line end that editors add."""
    for name, content in {
        "key": "sk-1\n",
        "token": "t-1\r\n",
        "secret": "s-1-of-the-replicas",
        "hash": f"{DIGEST}\n",
    }.items():
        write(tmp_path / name, content)
    more = "admin: {token_file: token}\nbus: {secret_file: secret}\nkeys: [{id: a, hash_file: hash}]\n"
    loaded = load_text(tmp_path, WITH_FILE + more)
    assert (problems(loaded), loaded.settings is not None) == ([], True)
    assert loaded.settings is not None
    api_key, token = loaded.settings.upstreams["openai"].api_key, loaded.settings.admin.token
    secret = loaded.settings.bus.secret
    assert [each.get_secret_value() for each in (api_key, token, secret) if each] == [
        "sk-1",
        "t-1",
        "s-1-of-the-replicas",
    ]
    assert loaded.settings.keys[0].hashes == {DIGEST}
    assert set(loaded.files) == {tmp_path / name for name in ("key", "token", "secret", "hash")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read (No such file or directory)"),
        ("", "the file is empty"),
        ("\n", "the file is empty"),
        (b"\xff\xfe", "not text in UTF-8"),
        ("x" * 70_000, "too large for a secret; at most 65536 bytes are read"),
    ],
)
def test_a_secret_file_without_a_secret_is_an_error_at_its_key(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    """A missing or empty secret stops the start, it is never taken for no secret."""
    if content is not None:
        write(tmp_path / "key", content)
    assert problems(load_text(tmp_path, WITH_FILE)) == [
        f"5:19: upstreams.openai.api_key_file: {tmp_path / 'key'}: {message}"
    ]


def test_a_folder_is_no_secret_file(tmp_path: Path) -> None:
    """A mount that became a folder is told as such."""
    (tmp_path / "key").mkdir()
    assert problems(load_text(tmp_path, WITH_FILE))[0].endswith("can't be read (Is a directory)")


def test_a_secret_that_no_header_can_carry_is_refused_without_being_shown(tmp_path: Path) -> None:
    """Two lines in a key file are an error at the file's key."""
    write(tmp_path / "key", "canary-1\ncanary-2\n")
    found = problems(load_text(tmp_path, WITH_FILE))
    assert len(found) == 1
    assert found[0].startswith("5:19: upstreams.openai.api_key: contains a blank, a line break")
    assert "canary" not in found[0]


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    """Between a value and a file nobody guesses."""
    write(tmp_path / "key", "sk-1")
    text = WITH_FILE.replace("    api_key_file", "    api_key: x\n    api_key_file")
    assert problems(load_text(tmp_path, text)) == [
        "6:19: upstreams.openai.api_key_file: both api_key and api_key_file are given; keep one of them"
    ]


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o400, 0), (0o644, 1), (0o660, 1)])
def test_a_secret_file_that_others_can_read_is_a_warning(tmp_path: Path, mode: int, warned: int) -> None:
    """More than 0640 is told, with the command that mends it."""
    key = write(tmp_path / "key", "sk-1", mode)
    loaded = load_text(tmp_path, WITH_FILE)
    expected = f"its mode {mode:04o} lets more people in than 0640; chmod 640 {key}"
    assert [line.endswith(expected) for line in warnings(loaded)] == [True] * warned
    assert loaded.settings is not None


def test_an_authority_file_must_be_there(tmp_path: Path) -> None:
    """A ca_file is looked at when the config is read, not at the first call."""
    text = SMALLEST.replace("api.openai.com/v1\n", "api.openai.com/v1\n    ca_file: certs/ca.pem\n")
    assert problems(load_text(tmp_path, text)) == [
        f"5:14: upstreams.openai.ca_file: {tmp_path / 'certs/ca.pem'}: can't be read (No such file or directory)"
    ]
    (tmp_path / "certs").mkdir()
    path = write(tmp_path / "certs" / "ca.pem", "pem")
    loaded = load_text(tmp_path, text)
    assert loaded.settings is not None
    assert (loaded.settings.upstreams["openai"].ca_file, loaded.files) == (path, (path,))
