"""Starting the product inside the test's own process, from a config file's text, as the program would.

async with running_proxy(config_text(up.base_url), tmp_path) as proxy:
    ... proxy.port, proxy.base_url, proxy.admin_url, proxy.app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.app import Among, App
from proxy.config_file.loader import load
from proxy.core.settings.settings import Settings
from proxy.edge.admin.playground import SeenByDemo
from proxy.stores.ledger.place import path_of
from proxy.stores.ledger.port import Ledger
from proxy.stores.ledger.verify import verify_file


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy that runs in this process."""

    app: App
    settings: Settings

    @property
    def port(self) -> int:
        """The port of the proxy."""
        return self.app.port

    @property
    def admin_port(self) -> int:
        """The port of the admin listener."""
        return self.app.admin_port

    @property
    def base_url(self) -> str:
        """The address of the first route."""
        return f"http://127.0.0.1:{self.port}{self.settings.routes[0].path.rstrip('/')}"

    @property
    def admin_url(self) -> str:
        """The admin listener's address, without a path."""
        return f"http://127.0.0.1:{self.admin_port}"


def settings_of(config: str, folder: Path) -> Settings:
    """The settings of a config file's text; a relative ledger file is put into `folder`.

    Raises:
        AssertionError: the config is not valid; with every problem.
    """
    data: dict[str, Any] = yaml.safe_load(config)
    url = data.get("ledger", {}).get("url", "")
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        data["ledger"]["url"] = f"sqlite:///{folder / url.removeprefix('sqlite:///')}"
    elif url.startswith("postgresql:"):
        data["ledger"]["spool"] = str(folder / data["ledger"].get("spool", "quell.db"))
    file = folder / "quell.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    loaded = load(file, {})
    assert loaded.settings, "\n".join(map(str, loaded.problems))
    return loaded.settings


@asynccontextmanager
async def running_proxy(
    config: str,
    folder: Path,
    *,
    ledger: Ledger | None = None,
    among: Among | None = None,
    demo: SeenByDemo | None = None,
) -> AsyncIterator[RunningProxy]:
    """Start the proxy on free ports; at the end what still runs is stopped at once, unless the test stopped it.

    `ledger` stands in for the one that the config names, `among` for other workers, and `demo` says what a demo
    upstream saw. Whatever a test did, its ledger holds what it promises.
    """
    settings = settings_of(config, folder)
    app = App(settings, lambda: settings_of(config, folder), among, demo)
    await app.start(ledger)
    try:
        yield RunningProxy(app, settings)
    finally:
        await app.stop(drain=False)
    if ledger is None:
        found = verify_file(path_of(settings.ledger.file_url), text=settings.ledger.text)
        assert found.findings == [], found.findings
