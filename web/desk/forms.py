"""The desk's forms: what was typed, as the JSON that the API's schema would have been sent.

A form that changes something also carries what it showed at first. Only what differs from that is sent on, so two
operators who change different fields of one thing at once both have their way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from flask import request
from pydantic import ValidationError

from models.errors import DomainError
from web.errors import fields_of, status_of
from web.schemas import Body

B = TypeVar("B", bound=Body)

WAS = "was."
NUL = "\x00"
INVALID = 400
NUMBER_DIGITS = 19
PICKED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Input:
    """One field, by its name in the API. `kind` says how it is typed and read:

    text, long (several lines), lines (a list, one each), number, price, moment (UTC), local (a wall clock's time),
    flag (a box to tick), choice (one of `choices`, each with its label), password (kept as typed, and never shown).
    """

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    required: bool = False
    choices: Sequence[tuple[str, str]] = ()

    def show(self, value: Any) -> str:
        """A value of the API as the field shows it."""
        if value is None or value is False:
            return ""
        if value is True:
            return "on"
        if self.kind == "lines":
            return "\n".join(value)
        if self.kind == "moment":
            return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{value:.2f}" if self.kind == "price" else str(value)

    def read(self, typed: str) -> Any:
        """What was typed as the API would be sent it; nothing typed is null."""
        if self.kind == "flag":
            return bool(typed)
        if self.kind == "lines":
            return typed.split()
        if not typed:
            return None
        if self.kind == "number":
            is_number = typed.isascii() and typed.isdigit() and len(typed) < NUMBER_DIGITS
            return int(typed) if is_number else typed
        # A browser's picker knows no zone: the desk's times are UTC, and the label says so.
        return f"{typed}Z" if self.kind == "moment" and PICKED.fullmatch(typed) else typed


@dataclass(slots=True)
class DeskForm(Generic[B]):
    """A form as it is shown: its fields, what stands in them, and what is wrong with them."""

    schema: type[B]
    inputs: Sequence[Input]
    # What the thing that is changed looks like now; None for a thing that is to be made.
    shown: Mapping[str, Any] | None = None
    values: dict[str, str] = field(default_factory=dict)
    was: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
    status: int = 200

    def __post_init__(self) -> None:
        if self.shown is not None:
            self.values = {each.name: each.show(_find(self.shown, each.name)) for each in self.inputs}
            self.was = dict(self.values)

    def read(self) -> B | None:
        """The request's fields by the schema, or None: then `errors` says what is wrong."""
        typed = {each.name: _typed(each.name, strip=each.kind != "password") for each in self.inputs}
        self.values = typed
        self.status = INVALID
        if self.shown is not None:
            self.was = {each.name: _typed(WAS + each.name) for each in self.inputs}
        given = [each for each in self.inputs if self._is_given(each)]
        try:
            return self.schema.model_validate({each.name: each.read(typed[each.name]) for each in given})
        except ValidationError as error:
            self._name(error)
            return None

    def refuse(self, error: DomainError) -> None:
        """Say why the rules refused what the schema let through."""
        self.status = status_of(error)
        names = {each.name for each in self.inputs}
        self.errors |= {each.field: each.message for each in error.fields if each.field in names}
        self.problem = None if self.errors else error.message

    def _is_given(self, field: Input) -> bool:
        if self.shown is not None:
            return self.values[field.name] != self.was[field.name]
        return bool(self.values[field.name])

    def _name(self, error: ValidationError) -> None:
        names = {each.name for each in self.inputs}
        for each in fields_of(error):
            # Of a list it is the list that is wrong, wherever in it.
            name = each.field.partition(".")[0]
            if name in names:
                self.errors[name] = each.message
            else:
                self.problem = f"{each.field}: {each.message}"


def _typed(name: str, *, strip: bool = True) -> str:
    # Browsers send lines ended as on paper tape.
    typed = request.form.get(name, "").replace(NUL, "").replace("\r\n", "\n")
    return typed.strip() if strip else typed


def _find(shown: Mapping[str, Any], name: str) -> Any:
    """`categoryId` of a product stands in its `category`."""
    if name in shown:
        return shown[name]
    nested = shown.get(name.removesuffix("Id"))
    return nested["id"] if isinstance(nested, Mapping) else None
