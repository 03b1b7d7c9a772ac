"""What kind of server this process runs in: request threads on web, greenlets on live."""

import sys


def on_gevent() -> bool:
    """Whether gevent has patched this process, as gunicorn's gevent worker does before it loads the app."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("threading"))
