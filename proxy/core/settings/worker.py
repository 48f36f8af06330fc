"""The settings of one worker, made from those of the file: what several processes on one machine can't share.

They share the public address. A ledger's file, a name among the replicas and an admin address have one owner each.
"""

from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import SecretStr

from proxy.core.settings.settings import Address, LedgerSettings, Settings

HIGHEST_PORT: Final = 65_535
_FILE_URL: Final = "sqlite:///"


def worker_settings(settings: Settings, number: int, *, listen: Address, replica: str, token: str | None) -> Settings:
    """The settings of worker `number`, counted from 1.

    Args:
        settings: what the file says.
        number: which worker.
        listen: the address that all of them share; its port is never 0.
        replica: the name of all of them together; each has it with its number.
        token: the admin token, where the settings name none.
    """
    ledger = worker_ledger(settings.ledger, number)
    admin = settings.admin.model_copy(update={"listen": worker_admin(settings.admin.listen, number)})
    if token is not None:
        admin = admin.model_copy(update={"token": SecretStr(token)})
    changed = {"listen": listen, "admin": admin, "ledger": ledger, "replica": f"{replica}-{number}"}
    return settings.model_copy(update=changed)


def worker_ledger(settings: LedgerSettings, number: int) -> LedgerSettings:
    """The ledger of one worker: its file has the number before its ending (`quell-2.db`), a database is for all."""
    path = PurePosixPath(settings.file_url.removeprefix(_FILE_URL))
    own = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return settings.model_copy(update={"spool": Path(own)} if settings.is_shared else {"url": f"{_FILE_URL}{own}"})


def worker_admin(address: Address, number: int) -> Address:
    """The admin address of one worker: the first has the one that is set, each other the next port; 0 stays 0."""
    return Address(address.host, address.port + number - 1) if address.port else address


def admin_ports(settings: Settings) -> range:
    """The ports that the admin listeners take; none where the system chooses them."""
    first = settings.admin.listen.port
    return range(first, first + settings.workers) if first else range(0)
