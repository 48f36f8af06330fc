"""The operator's token: from the settings, else made beside the ledger, where the command line looks for it."""

import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from proxy.core.settings.settings import Settings
from proxy.edge.admin.errors import AdminTokenError

SUFFIX: Final = ".admin_token"
LONGEST: Final = 4096
"""Bytes that a token's file may have; ours has 44."""

_FILE_URL: Final = "sqlite:///"
_RANDOM_BYTES: Final = 32
_ROOT: Final = 0


def admin_token(settings: Settings) -> str:
    """The token that the admin listener takes; without one in the settings, the one beside the ledger, made if needed.

    Raises:
        AdminTokenError: its file can't be read or made, or somebody else could have read or written it.
    """
    if settings.admin.token is not None:
        return settings.admin.token.get_secret_value()
    if settings.admin.token_file is not None:
        return read_token(settings.admin.token_file)
    path = token_path(settings.ledger.file_url)
    return read_token(path) if _is_there(path) else _make(path)


def token_path(ledger_url: str) -> Path:
    """Where the token stands that is made for a ledger: beside its file, or in the working folder if it has none."""
    name = ledger_url.removeprefix(_FILE_URL)
    ledger = Path(os.path.realpath("quell.db" if name == ledger_url else name))
    return ledger.with_name(ledger.name + SUFFIX)


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        AdminTokenError: the file can't be read, or what is in it can't be a token.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        raise AdminTokenError(f"{path}: can't be read ({_reason(error)})") from error
    text = data.strip()
    if not text:
        raise AdminTokenError(f"{path}: is empty; remove it, so that the proxy makes a new token at its start")
    if len(data) > LONGEST or not text.isascii() or not text.decode().isprintable() or b" " in text:
        raise AdminTokenError(f"{path}: holds no token (one line of printable ASCII without blanks)")
    return text.decode()


def _is_there(path: Path) -> bool:
    """Whether there is a token already; one that may not be ours alone is refused: who knows it can stop everything."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise AdminTokenError(f"{path}: can't be looked at ({_reason(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        raise AdminTokenError(f"{path}: is no regular file; remove it, the proxy makes a new one at its start")
    if found.st_mode & stat.S_IRWXO or found.st_uid not in {os.geteuid(), _ROOT}:
        raise AdminTokenError(
            f"{path}: others could have read or written it (owner {found.st_uid}, mode {found.st_mode & 0o777:04o}); "
            "remove it, the proxy makes a new one at its start"
        )
    return True


def _make(path: Path) -> str:
    """Write a new token, whole or not at all, readable for this user only."""
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    try:
        descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(token + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AdminTokenError(
            f"{path}: can't be written ({_reason(error)}); name a file that holds a token: admin.token_file"
        ) from error
    return token


def _reason(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return (reason or "not a file's name").lower()
