"""Moments as options: a day, a time, or how long ago."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import click

from proxy.core.settings.scalar_types import parse_duration


class _Moment(click.ParamType[float]):
    """A moment in the past, in seconds since the epoch."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The moment; a day or time without an offset is UTC."""
        if isinstance(value, float):
            return value
        now = time.time()
        try:
            return now - parse_duration(str(value))
        except ValueError:
            pass
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("expected how long ago, such as 30d, or a day or time, such as 2026-01-31", param, ctx)
        moment = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        if not 0 <= moment <= now:
            self.fail("expected a moment in the past", param, ctx)
        return moment


MOMENT: Final = _Moment()
