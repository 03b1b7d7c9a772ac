"""The kinds of values that bodies are made of, each with its rule, its words of refusal and its description."""

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

BIGINT_MAX = 2**63 - 1
BIGINT_DIGITS = 19
PRICE_MAX = Decimal("9999999999.99")
# Fifteen digits: what a JSON number can carry without loss.
AMOUNT_MAX = Decimal("9999999999999.99")
EMAIL_LENGTH_MAX = 254

# The pattern by which browsers check <input type=email>: HTML Living Standard (WHATWG), section 4.10.5.1.5, "valid
# e-mail address". What it lets through may still not exist; only a mail that arrives would show that.
EMAIL = re.compile(
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+"
    r"@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
)


def read_id(value: object) -> int:
    """An id, as the text that we hand out or as a number. Raises ValueError."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= BIGINT_MAX:
        raise ValueError("must be an id")
    return number


# The id that no row has: what another system's id comes to here.
NO_ID = 0


def read_any_id(value: object) -> int:
    """An id of ours, or NO_ID for text that may be an id elsewhere: well written, and nothing is found. Raises
    ValueError."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value, re.ASCII):
        number = int(value) if value.isdigit() and len(value) <= BIGINT_DIGITS else NO_ID
        return number if number <= BIGINT_MAX else NO_ID
    return read_id(value)


def read_hundredths(value: object) -> Decimal:
    """A JSON number or its text, with at most two decimals. Raises ValueError."""
    number = _decimal(value)
    if number is None or number != round(number, 2):
        raise ValueError("must be a number with at most two decimals")
    return number


def read_price(value: object) -> Decimal:
    """A JSON number or its text, in major units of its currency. Raises ValueError."""
    price = read_hundredths(value)
    if not 0 < price <= PRICE_MAX:
        raise ValueError(f"must be above 0 and at most {PRICE_MAX}")
    return price


def read_amount(value: object) -> Decimal:
    """A sum in major units of its currency, as a JSON number or its text; nothing is a sum too. Raises ValueError."""
    amount = read_hundredths(value)
    if not 0 <= amount <= AMOUNT_MAX:
        raise ValueError(f"must be from 0 to {AMOUNT_MAX}")
    return amount


def read_rating(value: object) -> Decimal:
    """0 to 5 stars in tenths. Raises ValueError."""
    rating = _decimal(value)
    if rating is None or not 0 <= rating <= 5 or rating != round(rating, 1):  # noqa: PLR2004 - five stars
        raise ValueError("must be a number from 0 to 5 with at most one decimal")
    return rating


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    # A double holds fifteen digits (C's DBL_DIG): 3.3000000000000003 is what 3 * 1.1 comes to, and 3.3 what is meant.
    text = f"{value:.15g}" if isinstance(value, float) else str(value)
    return Decimal(text) if re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,16})?", text, re.ASCII) else None


def read_moment(value: object) -> datetime:
    """ISO 8601 with its offset, as aware UTC; without an offset nobody knows when it is. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("must be a time in ISO 8601, such as 2026-11-27T18:00:00Z")
    if moment.tzinfo is None:
        raise ValueError("must say its zone: end it with Z or an offset such as +01:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999") from None


def read_email(value: object) -> str:
    """An e-mail address in lower case. Raises ValueError."""
    address = value.strip() if isinstance(value, str) else ""
    if len(address) > EMAIL_LENGTH_MAX or not EMAIL.fullmatch(address):
        raise ValueError("must be an e-mail address")
    return address.lower()


def refuse_control_characters(text: str) -> str:
    """One line of text, as it stands in lists, mails and on telephones. Raises ValueError."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("must be one line, without control characters")
    return text


def _text(maximum: int, minimum: int = 1) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=minimum, max_length=maximum)


Id = Annotated[
    int,
    BeforeValidator(read_id),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^[0-9]{1,19}$"}, {"type": "integer", "minimum": 1}]}),
]
# Where a document shows ids of its own: those of another system are not malformed, they are not found.
AnyId = Annotated[
    int,
    BeforeValidator(read_any_id),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, {"type": "integer", "minimum": 1}]}
    ),
]
Price = Annotated[
    Decimal,
    BeforeValidator(read_price),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": float(PRICE_MAX)}),
]
Amount = Annotated[
    Decimal,
    BeforeValidator(read_amount),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(AMOUNT_MAX)}),
]
Rating = Annotated[
    Decimal, BeforeValidator(read_rating), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 5})
]
Moment = Annotated[datetime, BeforeValidator(read_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Email = Annotated[
    str,
    BeforeValidator(read_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": EMAIL_LENGTH_MAX}),
]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
PersonName = Annotated[str, _text(100), AfterValidator(refuse_control_characters)]
Title = Annotated[str, _text(200), AfterValidator(refuse_control_characters)]
LongText = Annotated[str, _text(10_000, minimum=0)]
SearchTerm = Annotated[str, _text(100)]
# What a page may show as a picture: never a `javascript:` address.
ImageUrl = Annotated[str, StringConstraints(pattern=r"^(https?://|/)[^\s]+$", max_length=2048)]
