"""What the program says when it serves: where, and what to try."""

from collections.abc import Sequence

from proxy import __version__
from proxy.core.bus_address import parse_bus_url
from proxy.core.ledger_address import parse_ledger_address
from proxy.core.settings import RouteSettings, Settings
from proxy.demo.upstream import DemoUpstream

TRY_IT = """\
  try it:   curl -N {base}/chat/completions -H 'Content-Type: application/json'{key} \\
              -H 'X-Task-Id: try-1' \\
              -d '{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Tell me a long story."}}]}}'
  stop it:  curl -X POST {base}/generations/try-1/cancel{key}
"""


def banner(
    settings: Settings, replica: str, port: int, admin_ports: Sequence[int], model: str, demo: DemoUpstream | None
) -> str:
    """The banner.

    Args:
        settings: what is served.
        replica: this replica's name; of several workers, that of all together.
        port: the proxy's own.
        admin_ports: that of the admin listener, or of each worker's.
        model: the one in the command to try.
        demo: the demo upstream, if there is one.
    """
    origin = f"http://{_reachable(settings.listen.host)}:{port}"
    first = next((route for route in settings.routes if "openai" in route.dialects), None)
    shown = first or settings.routes[0]
    lines = [f"quell {__version__}"]
    if demo is not None:
        lines.append(f"  demo upstream {demo.base_url} (answers by itself: no key, no network)")
    lines.append(f"  proxy     {origin}{_served(shown)}   <- the base_url of your client")
    lines += [f"            {origin}{_served(route)}" for route in settings.routes if route is not shown]
    host = _reachable(settings.admin.listen.host)
    for number, admin_port in enumerate(admin_ports, 1):
        worker = f"   worker {number} of {len(admin_ports)}" if len(admin_ports) > 1 else ""
        lines.append(f"  {'operator' if number == 1 else '        '}  http://{host}:{admin_port}/metrics{worker}")
    lines += _among_others(settings, replica, len(admin_ports))
    key = " -H 'Authorization: Bearer YOUR_KEY'" if settings.keys else ""
    try_it = "" if first is None else TRY_IT.format(base=f"{origin}{first.path.rstrip('/')}", key=key, model=model)
    return "\n".join([*lines, try_it])


def _among_others(settings: Settings, replica: str, workers: int) -> list[str]:
    """Where the others are met, and the name that this one has there."""
    lines = [] if settings.bus.url is None else [f"  bus       {parse_bus_url(settings.bus.url).place}"]
    if settings.ledger.is_shared:
        lines.append(f"  ledger    PostgreSQL at {parse_ledger_address(settings.ledger.url).place}")
    names = f"{replica}-1 to {replica}-{workers}" if workers > 1 else replica
    return [*lines, f"  replica   {names}"] if lines else []


def _served(route: RouteSettings) -> str:
    """A route's path, and what it speaks."""
    emulates = "openai" in route.dialects and route.responses == "emulate"
    speaks = ", ".join(route.dialects) + (" with responses: emulate" if emulates else "")
    return f"{route.path.rstrip('/')}   {speaks}"


def _reachable(host: str) -> str:
    """The host part of an address that works from here."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 nothing is bound here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
