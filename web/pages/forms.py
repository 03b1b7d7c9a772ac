"""Forms: the fields that a person filled in, checked by the same schemas as the API's bodies."""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flask import request
from pydantic import ValidationError

from models.errors import DomainError
from web.errors import fields_of
from web.schemas import Body

B = TypeVar("B", bound=Body)
# Never sent back to where it came from.
SECRET = frozenset({"password"})
NUL = "\x00"


@dataclass(slots=True)
class Form(Generic[B]):
    """A form as it is shown: what was typed, and what is wrong with it, for each field and for all of it."""

    schema: type[B]
    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    def read(self) -> B | None:
        """The request's fields by the schema, or None: then `errors` says what is wrong."""
        names = [each.alias or name for name, each in self.schema.model_fields.items()]
        typed: dict[str, Any] = {name: request.form[name].replace(NUL, "") for name in names if request.form.get(name)}
        self.values = {name: text for name, text in typed.items() if name not in SECRET}
        try:
            return self.schema.model_validate(typed)
        except ValidationError as error:
            self.errors = {each.field: each.message for each in fields_of(error)}
            return None

    def refuse(self, error: DomainError) -> None:
        """Say why the rules refused what the schema let through."""
        self.errors |= {each.field: each.message for each in error.fields}
        self.problem = None if error.fields else error.message
