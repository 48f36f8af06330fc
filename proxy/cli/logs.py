"""The log: JSON lines, or readable ones on a terminal. Credentials and texts are never given to it."""

import json
import logging
import os
import sys
from typing import TextIO

import msgspec
import structlog

from proxy.cli.lasting_output import make_output_last
from proxy.core.settings.settings import LogSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _json(event: object, **_options: object) -> str:
    """A log line in ASCII. msgspec is faster, but leaves separators such as U+2028 as they are: then json does it."""
    try:
        line = msgspec.json.encode(event, enc_hook=repr)
    except UnicodeEncodeError:  # half a surrogate pair
        line = b"\xff"
    return line.decode() if line.isascii() else json.dumps(event, default=repr)


def set_up_log(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Configure structlog for the process; `stream` is standard output by default, which outlives its reader then."""
    if stream is None:
        make_output_last()
    out = stream or sys.stdout
    pretty = settings.format == "pretty" or (settings.format == "auto" and out.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if pretty:
        shared.append(structlog.dev.ConsoleRenderer(colors=out.isatty() and not os.environ.get("NO_COLOR")))
    else:
        shared += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(_json)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.CRITICAL)  # libraries say nothing that we do not say better
