"""Ids in paths."""

from werkzeug.routing import BaseConverter

from web.fields import read_any_id


class IdConverter(BaseConverter):
    """`<int:number>`: a positive number of at most 18 digits, so that it fits in PostgreSQL's bigint.

    Anything else is no route, so 404. The rule is all in the pattern: a converter that refuses later makes werkzeug
    answer 405 where another method has the same path.
    """

    regex = r"[1-9][0-9]{0,17}"

    def to_python(self, value: str) -> int:
        return int(value)


class AnyIdConverter(BaseConverter):
    """`<id:sale_id>`: an id, as `web.fields.AnyId` reads it, so that an id of another system is answered by the route
    itself, with its own words for what it did not find."""

    regex = r"[A-Za-z0-9_-]{1,64}"

    def to_python(self, value: str) -> int:
        return read_any_id(value)
