"""Ids in paths."""

from werkzeug.routing import BaseConverter


class IdConverter(BaseConverter):
    """`<id:sale_id>`: a positive number of at most 18 digits, so that it fits in PostgreSQL's bigint.

    Anything else is no route, so 404. The rule is all in the pattern: a converter that refuses later makes werkzeug
    answer 405 where another method has the same path.
    """

    regex = r"[1-9][0-9]{0,17}"

    def to_python(self, value: str) -> int:
        return int(value)
