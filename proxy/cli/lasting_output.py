"""Standard output and error of a process that must outlive whoever reads them: a full disk, a pipe nobody reads on.

What can't be written is lost; what the proxy does is not.
"""

import contextlib
import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Lasting(io.FileIO):
    """A file that takes every write, be it to throw it away."""

    def write(self, data: "Buffer") -> int:
        """Write as much as the file takes, and call it all."""
        with contextlib.suppress(OSError):  # no reader, no room, no such device any more
            super().write(data)
        return memoryview(data).nbytes


def make_output_last() -> None:
    """Replace both by such files; a stream that is no file (a test's) stays."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO) -> TextIO:
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):  # closed, replaced, or never there
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Lasting(number, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)
