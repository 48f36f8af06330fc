"""Making a slow client felt: without this the kernel takes megabytes on its behalf before we see that it lags."""

import asyncio
import socket

import pytest

from proxy.edge.protocol import QuellProtocol

SEND_BUFFER = 8192


def shrink_send_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel buffer only some kilobytes for each further client of the proxies in this process."""
    real = QuellProtocol.connection_made

    def connection_made(self: QuellProtocol, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        real(self, transport)

    monkeypatch.setattr(QuellProtocol, "connection_made", connection_made)
