"""The settings of one worker, made from those of the file: what several processes on one machine can't share.

They share the public address. A ledger's file, a name among the replicas and an admin address have one owner each.
"""

from pathlib import PurePosixPath
from typing import Final

from pydantic import SecretStr

from proxy.core.settings import Address, Settings

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
    ledger = settings.ledger.model_copy(update={"url": worker_ledger(settings.ledger.url, number)})
    admin = settings.admin.model_copy(update={"listen": worker_admin(settings.admin.listen, number)})
    if token is not None:
        admin = admin.model_copy(update={"token": SecretStr(token)})
    changed = {"listen": listen, "admin": admin, "ledger": ledger, "replica": f"{replica}-{number}"}
    return settings.model_copy(update=changed)


def worker_ledger(url: str, number: int) -> str:
    """A ledger's URL for one worker: a file has its number before the ending (`quell-2.db`), a server is for all."""
    if not url.startswith(_FILE_URL):
        return url
    path = PurePosixPath(url.removeprefix(_FILE_URL))
    return f"{_FILE_URL}{path.with_name(f'{path.stem}-{number}{path.suffix}')}"


def worker_admin(address: Address, number: int) -> Address:
    """The admin address of one worker: the first has the one that is set, each other the next port; 0 stays 0."""
    return Address(address.host, address.port + number - 1) if address.port else address


def admin_ports(settings: Settings) -> range:
    """The ports that the admin listeners take; none where the system chooses them."""
    first = settings.admin.listen.port
    return range(first, first + settings.workers) if first else range(0)
