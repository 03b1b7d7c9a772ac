"""Numbers in paths: all of them are ids."""

from werkzeug.routing import BaseConverter, ValidationError

from web.fields import BIGINT_MAX


class IdConverter(BaseConverter):
    """What `<int:…>` means in our paths: a positive number that PostgreSQL's bigint can hold.

    Anything else is no route, so 404. werkzeug's own takes as many digits as a URL has, and more than Python does.
    """

    regex = r"[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if not 1 <= number <= BIGINT_MAX:
            raise ValidationError
        return number
