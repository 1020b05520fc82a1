"""Sockets to listen on, taken before anything slow is started."""

from __future__ import annotations

import errno
import socket

from onpace.config.errors import PortBusy
from onpace.config.settings import WebSettings

__all__ = ["clickhouse_socket", "listening_socket", "url_of", "web_socket"]

CLICKHOUSE_PORT = 8124


def listening_socket(host: str, port: int, setting: str) -> socket.socket:
    """A socket that listens, so that nobody else gets the port. Raises PortBusy that names the setting to change."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as exc:
        bound.close()
        if exc.errno != errno.EADDRINUSE:
            raise PortBusy(f"cannot listen on {host}:{port} ({exc.strerror}): check ONPACE_WEB__HOST") from exc
        message = f"port {port} on {host} is taken: stop what listens there, or choose another with {setting}"
        raise PortBusy(message) from exc
    return bound


def web_socket(settings: WebSettings) -> socket.socket:
    """Where status page, gateway and metrics are served."""
    return listening_socket(settings.host, settings.port, "--port or ONPACE_WEB__PORT")


def clickhouse_socket(settings: WebSettings) -> socket.socket:
    """Where the embedded engine is served; on any free port when nobody chose one and the usual one is taken."""
    setting = "ONPACE_WEB__CLICKHOUSE_PORT"
    if settings.clickhouse_port is not None:
        return listening_socket(settings.host, settings.clickhouse_port, setting)
    try:
        return listening_socket(settings.host, CLICKHOUSE_PORT, setting)
    except PortBusy:
        return listening_socket(settings.host, 0, setting)


def url_of(bound: socket.socket) -> str:
    """The address to open for a socket that listens; for one that listens everywhere, the one on this machine."""
    host, port = bound.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"
