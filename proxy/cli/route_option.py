"""The option `--route`: a route's path as people type it, and a word when no route has it."""

from typing import Any, Final

import click

from proxy.cli.admin_client import AdminClient, CommandError
from proxy.cli.output import say
from proxy.config_file.problems import did_you_mean
from proxy.core.settings.urls import check_route_path


def route_path(text: str) -> str:
    """A route's path; the slash before it may be left out.

    Raises:
        ValueError: it can be no path of a route, or is empty, such as an unset variable.
    """
    if not text:
        raise ValueError("expected a path such as /v1")
    return check_route_path(f"/{text.removeprefix('/')}")


class _Route(click.ParamType[str]):
    """A route's path."""

    name = "PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path as the settings have it; click says what is wrong with one that can be none."""
        try:
            return route_path(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


ROUTE: Final = _Route()


def say_if_no_route(client: AdminClient, route: str | None) -> None:
    """Where nothing was found on a route: say so if no route has that path now. Records may be of one that had."""
    if route is None:
        return
    try:
        routes = [str(each["path"]) for each in client.get("/config")["settings"]["routes"]]
    except (CommandError, KeyError, TypeError):  # a hint: what was asked for has been answered
        return
    if route not in routes:
        say(f"no route has the path {route} now{did_you_mean(route, routes)}")
