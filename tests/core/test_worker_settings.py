"""What is a worker's own among the settings."""

import pytest

from proxy.core.settings.settings import Address, Settings
from proxy.core.settings.worker import admin_ports, worker_ledger, worker_settings


def made(**sections: object) -> Settings:
    """Settings with these sections."""
    return Settings.model_validate(
        {
            "version": 1,
            "upstreams": {"up": {"base_url": "http://127.0.0.1:9/v1"}},
            "routes": [{"path": "/v1", "dialect": "openai", "upstream": "up"}],
            **sections,
        }
    )


@pytest.mark.parametrize(
    ("ledger", "url", "file"),
    [
        ({"url": "sqlite:///quell.db"}, "sqlite:///quell-2.db", "sqlite:///quell-2.db"),
        ({"url": "sqlite:////data/my.ledger.db"}, "sqlite:////data/my.ledger-2.db", "sqlite:////data/my.ledger-2.db"),
        ({"url": "sqlite:///data/ledger"}, "sqlite:///data/ledger-2", "sqlite:///data/ledger-2"),
        ({"url": "postgresql://db/quell"}, "postgresql://db/quell", "sqlite:///quell-2.db"),
        ({"url": "postgresql://db/quell", "spool": "/data/s.db"}, "postgresql://db/quell", "sqlite:////data/s-2.db"),
    ],
)
def test_a_ledgers_file_has_the_workers_number(ledger: dict[str, str], url: str, file: str) -> None:
    """A file's name, a spool's too, gets the number before its ending; a database's address stays."""
    own = worker_ledger(made(ledger=ledger).ledger, 2)
    assert (own.url, own.file_url) == (url, file)


def test_a_worker_has_a_name_and_an_admin_port_of_its_own() -> None:
    """The address is shared; ledger, name and admin port are the worker's; a token that was made is for all."""
    settings = made(workers=3, admin={"listen": "127.0.0.1:9000"})
    own = worker_settings(settings, 3, listen=Address("127.0.0.1", 8080), replica="host", token="made")
    assert own.listen == Address("127.0.0.1", 8080)
    assert own.admin.listen == Address("127.0.0.1", 9002)
    assert own.admin.token is not None
    assert own.admin.token.get_secret_value() == "made"
    assert (own.ledger.url, own.replica) == ("sqlite:///quell-3.db", "host-3")
    assert admin_ports(settings) == range(9000, 9003)
    assert own.routes == settings.routes


def test_admin_ports_that_the_system_chooses_stay_so() -> None:
    """Port 0 is 0 for every worker, and takes no port that can be named."""
    settings = made(workers=2, admin={"listen": "127.0.0.1:0"})
    own = worker_settings(settings, 2, listen=Address("127.0.0.1", 8080), replica="host", token=None)
    assert own.admin.listen.port == 0
    assert not admin_ports(settings)
