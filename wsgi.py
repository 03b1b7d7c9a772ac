"""What servers load: `granian --interface wsgi wsgi:app`, `gunicorn wsgi:app`, and the `flask` command."""

import gc

from web.app import create_app

app = create_app()

# What is there now lives as long as the process: no collection needs to look at it again.
gc.collect()
gc.freeze()
