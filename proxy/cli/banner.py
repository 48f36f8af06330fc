"""What the program says when it serves: where, and what to try."""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy import __version__
from proxy.core.bus_address import parse_bus_url
from proxy.core.ledger_address import parse_ledger_address
from proxy.core.settings.route import GEMINI
from proxy.core.settings.settings import Address, RouteSettings, Settings
from proxy.demo.upstream import DemoUpstream
from proxy.edge.admin.token import token_path

TRY_IT = """\
  try it:   curl -N {base}/chat/completions -H 'Content-Type: application/json'{key} \\
              -H 'X-Task-Id: try-1' \\
              -d '{{"model":"{model}","max_tokens":2000,"stream":true,
                   "messages":[{{"role":"user","content":"Tell me a long story."}}]}}'
  stop it:  curl -X POST {base}/generations/try-1/cancel{key}
"""
"""The bound is there so that the stop can say what it saved."""

OTHERS_CAN_REACH = "others can reach the operator's address, over plain HTTP: this token is all that keeps them out"
ONCE = "   <- opens once, within 10 minutes"


@dataclass(frozen=True, slots=True)
class Page:
    """An admin listener's page: its port, and the code that lets in once, where it may be shown."""

    port: int
    code: str | None = None


def banner(
    settings: Settings, replica: str, port: int, pages: Sequence[Page], model: str, demo: DemoUpstream | None
) -> str:
    """The banner.

    Args:
        settings: what is served.
        replica: this replica's name; of several workers, that of all together.
        port: the proxy's own.
        pages: that of the admin listener, or of each worker's.
        model: the one in the command to try.
        demo: the demo upstream, if there is one.
    """
    origin = f"http://{Address(settings.listen.host, port).from_here}"
    first = next(
        (each for each in settings.routes if "openai" in each.dialects and not _is_gemini(settings, each)), None
    )
    shown = first or settings.routes[0]
    lines = [f"quell {__version__}"]
    if demo is not None:
        lines.append(f"  demo upstream {demo.base_url} (answers by itself: no key, no network)")
    lines.append(f"  proxy     {origin}{_served(settings, shown)}   <- the base_url of your client")
    lines += [f"            {origin}{_served(settings, route)}" for route in settings.routes if route is not shown]
    for number, page in enumerate(pages, 1):
        worker = f"   worker {number} of {len(pages)}" if len(pages) > 1 else ""
        label = "operator" if number == 1 else " " * len("operator")
        lines.append(f"  {label}  {_link(settings, page)}{worker}")
    lines += _made_token(settings, pages)
    lines += _among_others(settings, replica, len(pages))
    key = " -H 'Authorization: Bearer YOUR_KEY'" if settings.keys else ""
    try_it = "" if first is None else TRY_IT.format(base=f"{origin}{first.path.rstrip('/')}", key=key, model=model)
    return "\n".join([*lines, try_it])


def _made_token(settings: Settings, pages: Sequence[Page]) -> list[str]:
    """Where the token is that was made for want of another one: for who has no link, and where others can come in."""
    admin = settings.admin
    is_made = admin.token is None and admin.token_file is None
    if not is_made or (admin.listen.is_loopback and pages[0].code is not None):
        return []
    line = f"  token     {token_path(settings.ledger.file_url)}   <- has what logs in"
    return [line] if admin.listen.is_loopback else [line, f"            {OTHERS_CAN_REACH}"]


def _among_others(settings: Settings, replica: str, workers: int) -> list[str]:
    """Where the others are met, and the name that this one has there."""
    lines = [] if settings.bus.url is None else [f"  bus       {parse_bus_url(settings.bus.url).place}"]
    if settings.ledger.is_shared:
        lines.append(f"  ledger    PostgreSQL at {parse_ledger_address(settings.ledger.url).place}")
    names = f"{replica}-1 to {replica}-{workers}" if workers > 1 else replica
    return [*lines, f"  replica   {names}"] if lines else []


def _served(settings: Settings, route: RouteSettings) -> str:
    """A route's path, and what it speaks."""
    emulates = "openai" in route.dialects and route.responses == "emulate"
    more = " with format: gemini" if _is_gemini(settings, route) else " with responses: emulate" if emulates else ""
    speaks = ", ".join(route.dialects) + more
    return f"{route.path.rstrip('/')}   {speaks}"


def _is_gemini(settings: Settings, route: RouteSettings) -> bool:
    return settings.upstreams[route.upstream].format == GEMINI


def _link(settings: Settings, page: Page) -> str:
    """Where the page is; a worker's sessions are its own, so that each has a code."""
    address = Address(settings.admin.listen.host, page.port).from_here
    return f"http://{address}/ui" if page.code is None else f"http://{address}/ui?once={page.code}{ONCE}"
