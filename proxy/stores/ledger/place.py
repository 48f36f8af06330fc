"""Where the ledger's file is."""

import os
from pathlib import Path
from typing import Final

from proxy.stores.ledger.errors import LedgerOpenError

_PREFIX: Final = "sqlite:///"


def path_of(url: str) -> Path:
    """The file that a ledger URL names.

    Raises:
        LedgerOpenError: the URL is not of the form `sqlite:///relative.db` or `sqlite:////absolute.db`.
    """
    name = url.removeprefix(_PREFIX)
    if name == url or not name or name.startswith(":memory:"):
        raise LedgerOpenError(f"ledger.url {url!r}: expected sqlite:///relative.db or sqlite:////absolute/path.db")
    return Path(os.path.realpath(name))
