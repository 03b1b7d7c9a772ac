"""Where the pages of this process find the WebSocket."""

from urllib.parse import urlsplit

from flask import request

from models.settings import settings
from web.forwarded import came_through_proxy


def live_url() -> str:
    """The address of /ws: the settings' own; behind a proxy of ours the same door as the page's; or LIVE_PORT here."""
    known = settings()
    if known.live_url:
        return known.live_url
    scheme = "wss" if request.is_secure else "ws"
    host = request.host if came_through_proxy() else f"{host_name()}:{known.live_port}"
    return f"{scheme}://{host}/ws"


def live_origin() -> str:
    """The same as a source of the Content-Security-Policy; nothing where the setting is no address."""
    parts = urlsplit(live_url())
    if parts.scheme not in ("ws", "wss") or not parts.netloc or set(parts.netloc) & set(" ;,'\""):
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def host_name() -> str:
    """The host of the request without its port; an IPv6 address keeps its brackets."""
    host, bracket, _ = request.host.partition("]")
    return host + bracket if bracket else host.partition(":")[0]
