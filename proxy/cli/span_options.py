"""Points in time, tags and groups as options: checked before a proxy is asked, so that the option is named."""

import time
from typing import Any, Final

import click

from proxy.config_file.problems import did_you_mean
from proxy.core.moments import parse_moment
from proxy.stores.ledger.usage import TAG_GROUP, USAGE_GROUPS


class _Moment(click.ParamType[str]):
    """How long ago, a day or a time; it stays text, as the admin API takes it."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; click says what is wrong with one that is no point in time."""
        try:
            parse_moment(str(value), time.time())
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class _Tag(click.ParamType[str]):
    """`name=value`, given on as the admin API takes it."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`name:value`; click says so where it is neither."""
        name, equals, wanted = str(value).partition("=")
        if not (name and equals) or ":" in name:
            self.fail("expected NAME=VALUE, such as team=search", param, ctx)
        return f"{name}:{wanted}"


class _Groups(click.ParamType[str]):
    """What to sum over: several with commas, given on as the admin API takes them."""

    name = "GROUPS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; click names what is no group, and what was probably meant."""
        for name in str(value).split(","):
            if name not in USAGE_GROUPS and not (name.startswith(TAG_GROUP) and name != TAG_GROUP):
                known = [*USAGE_GROUPS, f"{TAG_GROUP}NAME"]
                self.fail(f"nothing is summed over {name!r}{did_you_mean(name, known)}", param, ctx)
        return str(value)


MOMENT: Final = _Moment()
TAG: Final = _Tag()
GROUPS: Final = _Groups()
