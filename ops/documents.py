"""`make postman`: write the API's description and the Postman collection as files, from the code as it stands.

Needs no server: the application is made and asked for its description, and connects to nothing.
"""

import os
import secrets
from pathlib import Path

import orjson

from models.settings import settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DESCRIPTION = DOCS / "openapi.json"
COLLECTION = DOCS / "postman" / "doorbuster.postman_collection.json"
ENVIRONMENT = DOCS / "postman" / "doorbuster.postman_environment.json"
# An application is not made without these; none of them gets into a document.
PLACEHOLDERS = {"DATABASE_URL": "postgresql://nowhere/none", "REDIS_URL": "redis://nowhere"}


def documents() -> dict[Path, bytes]:
    """Every document as it should stand in its file."""
    # Imported here: importing the application configures this process by the settings.
    from web.app import create_app  # noqa: PLC0415
    from web.postman import collection, environment  # noqa: PLC0415

    description = create_app().api_doc
    found = {DESCRIPTION: description, COLLECTION: collection(description), ENVIRONMENT: environment()}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {path: orjson.dumps(document, option=options) for path, document in found.items()}


def main() -> None:
    for name, value in PLACEHOLDERS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("JWT_SECRET_KEY", secrets.token_urlsafe(48))
    settings.cache_clear()
    for path, content in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
