"""Where the pages of this process find the WebSocket."""

from urllib.parse import urlsplit

from flask import request

from models.settings import settings


def live_url() -> str:
    """The address of /ws: the settings' own, or this host's with LIVE_PORT."""
    known = settings()
    if known.live_url:
        return known.live_url
    scheme = "wss" if request.is_secure else "ws"
    return f"{scheme}://{_host_name()}:{known.live_port}/ws"


def live_origin() -> str:
    """The same as a source of the Content-Security-Policy; nothing where the setting is no address."""
    parts = urlsplit(live_url())
    if parts.scheme not in ("ws", "wss") or not parts.netloc or set(parts.netloc) & set(" ;,'\""):
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def _host_name() -> str:
    """The host of the request without its port; an IPv6 address keeps its brackets."""
    host, bracket, _ = request.host.partition("]")
    return host + bracket if bracket else host.partition(":")[0]
