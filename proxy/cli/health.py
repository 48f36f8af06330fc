"""`quell health`: the probe for containers."""

import os

import click

from proxy.cli.admin_client import (
    ADMIN_VARIABLE,
    DEFAULT_ADMIN,
    AdminClient,
    CommandError,
    Token,
    tells_errors,
)
from proxy.cli.output import show_json

READY = 200
FAILING = {"not_draining": "draining"}
"""What a check that fails means, where its name does not say so."""


@click.command()
@click.option("--admin", metavar="URL", help=f"The admin listener, else ${ADMIN_VARIABLE}, else {DEFAULT_ADMIN}.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@tells_errors
def health(admin: str | None, *, output: str) -> None:
    """Ask a running proxy whether it takes work. Exit code 0: yes, 1: no, or it can't be reached."""
    url = admin or os.environ.get(ADMIN_VARIABLE) or DEFAULT_ADMIN
    status, answer = AdminClient(url, Token(None, "nowhere")).probe("/readyz?verbose")
    checks = answer.get("checks") if isinstance(answer, dict) else None
    if not isinstance(checks, dict):
        raise CommandError(f"what answers at {url} is no admin listener of Quell; give its address with --admin")
    if output == "json":
        show_json({"ready": status == READY and all(checks.values()), "checks": checks})
    failing = [FAILING.get(name, str(name)) for name, passes in checks.items() if not passes]
    if status != READY or failing:
        raise CommandError(f"not ready: {', '.join(failing)}")
    if output == "text":
        click.echo("ready")
