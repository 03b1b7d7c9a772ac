"""The refusals that the rules can give, each with a stable code; web/ turns a code into an HTTP status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of an input and what is wrong with it, as `errors[]` shows it."""

    field: str
    message: str


class DomainError(Exception):
    """A request that the rules refuse.

    `code` is stable and upper snake case; `message` is for people; `fields` names what to mend; `data` is what a
    client can act on, such as `startsAt`.
    """

    code = "REFUSED"
    message = "The request was refused"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        fields: Sequence[FieldError] = (),
        data: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code or type(self).code
        self.message = message or type(self).message
        self.fields = tuple(fields)
        self.data = dict(data or {})
        super().__init__(f"{self.code}: {self.message}")


class NotFoundError(DomainError):
    """What was asked for does not exist, or is none of the asker's business."""

    code = "NOT_FOUND"
    message = "Not found"


class InvalidError(DomainError):
    """The input breaks a rule; `fields` names where."""

    code = "VALIDATION_ERROR"
    message = "Validation error"

    @classmethod
    def field(cls, name: str, message: str, *, code: str | None = None) -> "InvalidError":
        return cls(message, code=code, fields=[FieldError(name, message)])


class ConflictError(DomainError):
    """The input is sound, but the state of things does not allow it now."""

    code = "CONFLICT"
    message = "Conflict"


class ForbiddenError(DomainError):
    """Known who you are, and you may not."""

    code = "FORBIDDEN"
    message = "Forbidden"


class UnavailableError(DomainError):
    """A part that is needed is away or full; try again after `retry_after_seconds`."""

    code = "UNAVAILABLE"
    message = "Temporarily unavailable"
    retry_after_seconds = 1
