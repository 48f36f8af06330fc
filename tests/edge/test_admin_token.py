"""Where the operator's token comes from, and which ones are refused."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy.core.settings.settings import Settings
from proxy.edge.admin.errors import AdminTokenError
from proxy.edge.admin.token import admin_token, read_token, token_path


def settings(folder: Path, **admin: Any) -> Settings:
    """The least settings, with the ledger in `folder`."""
    return Settings.model_validate(
        {
            "version": 1,
            "upstreams": {"up": {"base_url": "http://127.0.0.1:1/v1"}},
            "routes": [{"path": "/v1", "dialect": "openai", "upstream": "up"}],
            "ledger": {"url": f"sqlite:///{folder / 'quell.db'}"},
            "admin": admin,
        }
    )


def test_a_token_is_made_once_for_this_user_only(tmp_path: Path) -> None:
    """Without one in the settings a long random token is made beside the ledger, mode 0600, and used ever after."""
    old_mask = os.umask(0)
    try:
        token = admin_token(settings(tmp_path))
    finally:
        os.umask(old_mask)
    path = tmp_path / "quell.db.admin_token"
    assert token_path(settings(tmp_path).ledger.url) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 40
    assert path.read_text() == token + "\n"
    assert admin_token(settings(tmp_path)) == token
    assert list(tmp_path.iterdir()) == [path]


def test_two_ledgers_have_two_tokens(tmp_path: Path) -> None:
    """Tokens are random, not made from anything."""
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    assert len({admin_token(settings(folder)) for folder in folders}) == 2


def test_the_settings_token_goes_first(tmp_path: Path) -> None:
    """A configured token, or one in a file, is taken as it is, and nothing is made."""
    assert admin_token(settings(tmp_path, token="given")) == "given"
    file = tmp_path / "file"
    file.write_text("from-file\n")
    assert admin_token(settings(tmp_path, token_file=file)) == "from-file"
    assert list(tmp_path.iterdir()) == [file]


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A token beside the ledger that is open to everybody, or is a link, is no secret; the error says what to do."""
    path = tmp_path / "quell.db.admin_token"
    path.write_text("planted\n")
    path.chmod(0o644)
    with pytest.raises(AdminTokenError, match=r"mode 0644\); remove it"):
        admin_token(settings(tmp_path))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdminTokenError, match="no regular file"):
        admin_token(settings(tmp_path))


def test_a_token_that_cant_be_made_names_file_and_way_out(tmp_path: Path) -> None:
    """Where no file can be written the error names it and the key that avoids it."""
    with pytest.raises(AdminTokenError, match=r"quell\.db\.admin_token: can't be written .*admin\.token_file"):
        admin_token(settings(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n", "is empty"), (b"two words", "holds no token"), (b"\xff\xfe", "holds no token"), (b"x" * 5000, "no token")],
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """What can't be a token is refused without being repeated."""
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(AdminTokenError, match=words) as caught:
        read_token(file)
    assert "two" not in str(caught.value)
    with pytest.raises(AdminTokenError, match="no such file"):
        read_token(tmp_path / "missing")
