"""Knows how to take a port, and to say in words why one cannot be had."""

import socket

from chatbot.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; at port 0, at any free one.

    Raises:
        InputError: another program listens there, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"port {port} of {host} cannot be listened at ({error}); end what uses it, or give "
            "another --port (0 for any free one)"
        ) from error


def port_of(listener: socket.socket) -> int:
    """The port at which a socket listens."""
    return int(listener.getsockname()[1])


def free_port(host: str, port: int) -> int:
    """The port, or for 0 any free one, for those who want to open it themselves.

    Raises:
        InputError: it cannot be had.
    """
    with listen(host, port) as probe:
        return port_of(probe)


def address_of(host: str, port: int) -> str:
    """The web address of a service, as one opens it on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"
