"""Ids in paths."""

from werkzeug.routing import BaseConverter, ValidationError

from web.fields import BIGINT_MAX


class IdConverter(BaseConverter):
    """`<id:sale_id>`: a positive number that PostgreSQL's bigint can hold. Anything else is no route, so 404."""

    regex = r"[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if not 1 <= number <= BIGINT_MAX:
            raise ValidationError
        return number
