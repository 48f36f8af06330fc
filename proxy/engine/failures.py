"""How a defect of ours is logged: its type and where it happened, never its message, which may hold content."""

import traceback
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()


def log_failure(event: str, error: BaseException, **fields: Any) -> None:
    """One error line with the type of `error` and its stack as `file:line function`, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    log.error(event, error=type(error).__name__, where=where, **fields)
