"""What servers load: `granian --interface wsgi wsgi:app`, `gunicorn wsgi:app`, and the `flask` command."""

from web.app import create_app

app = create_app()
