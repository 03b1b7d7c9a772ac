"""The application, as servers and the `flask` command load it.

`python -m web.serve wsgi:app` is the shop's own web (ops/processes.py): it puts an event loop in front (web/front.py).
`gunicorn wsgi:app` is live's way, and that of any other WSGI server: Flask with the doorstep of web/doorstep.py.
"""

import gc

from web.app import create_app

app = create_app()

# What is there now lives as long as the process: no collection needs to look at it again.
gc.collect()
gc.freeze()
# A request makes hundreds of objects that die with it, and hardly any that refer to each other: to look for those
# behind every 700 new objects costs web a fortieth of its time.
gc.set_threshold(20_000, 10, 10)
