"""Durations as options: checked before a proxy is asked, so that the option is named."""

from typing import Any, Final

import click

from proxy.core.settings.scalar_types import parse_duration


class _Duration(click.ParamType[str]):
    """A duration as in the config file; it stays text, as the admin API takes it."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; click says what is wrong with one that is no duration."""
        try:
            parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


DURATION: Final = _Duration()
