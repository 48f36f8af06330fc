"""The address that workers share: kept for them, and only where nobody else listens."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from proxy.app import StartError
from proxy.app.listening import no_listening
from proxy.core.settings.settings import Address

_WHERE = "listen"


@contextmanager
def shared_address(address: Address) -> Iterator[Address]:
    """Keep an address, with a port that the system chooses if it names none; workers can listen there meanwhile.

    Raises:
        StartError: somebody listens there, or nobody can.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise StartError("workers: this system can't share a port among processes; set workers: 1")
    with ExitStack() as kept:
        try:
            port = address.port
            for family, place in _places(address):
                if port:
                    _bind(family, place, port, shared=False).close()  # a shared port would be shared with strangers too
                sock = kept.enter_context(_bind(family, place, port, shared=True))
                port = sock.getsockname()[1]
        except OSError as error:
            raise no_listening(address, error, _WHERE) from error
        yield Address(address.host, port)


def _places(address: Address) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))


def _bind(family: socket.AddressFamily, place: str, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((place, port))
    except OSError:
        sock.close()
        raise
    return sock
