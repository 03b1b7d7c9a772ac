"""What kind of server this process runs in: greenlets on gevent, or threads (on web, behind an event loop)."""

import sys


def on_gevent() -> bool:
    """Whether gevent has patched this process, as gunicorn's gevent worker does before it loads the app."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("threading"))
