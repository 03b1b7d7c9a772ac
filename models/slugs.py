"""Slugs: a name as it stands in an address, each one only once in its table."""

import re
import unicodedata
from collections.abc import Iterable

LENGTH_MAX = 80


def slug_of(name: str, fallback: str) -> str:
    """The name in lower-case ASCII letters, digits and dashes; `fallback` where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return slug[:LENGTH_MAX].rstrip("-") or fallback


def free_slug(wanted: str, taken: Iterable[str]) -> str:
    """The wanted slug, or the first of wanted-2, wanted-3, … that is not taken."""
    known = set(taken)
    if wanted not in known:
        return wanted
    number = 2
    while f"{wanted}-{number}" in known:
        number += 1
    return f"{wanted}-{number}"
