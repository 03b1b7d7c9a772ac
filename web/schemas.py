"""What every body and query has in common: camelCase outside, snake_case inside, and nothing that was not asked for."""

from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

T = TypeVar("T")

PAGE_MAX = 1_000_000
LIMIT_MAX = 100


class Body(BaseModel):
    """A JSON body: unknown fields are refused and no type is guessed ("1" is no number, 1 is no text)."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)

    def given(self) -> dict[str, Any]:
        """The fields that the client sent, by their inner names: what a PATCH changes."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Query(BaseModel):
    """A query string: everything arrives as text, so types are read from it; unknown names are refused. A parameter
    without a value, as forms send those that nobody filled in, is not given."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    _schemas: ClassVar[dict[type[BaseModel], dict[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: dict[str, Any]) -> dict[str, Any]:
        known = {field.alias for field in cls.model_fields.values()}
        return {name: value for name, value in given.items() if value or name not in known}

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # flask-openapi asks for the plain one on every request, and making it takes longer than the request.
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        if cls not in cls._schemas:
            cls._schemas[cls] = super().model_json_schema()
        return cls._schemas[cls]


class PathIds(BaseModel):
    """The ids in a path; the URL converter has read them already."""

    model_config = ConfigDict(frozen=True)


class View(BaseModel):
    """What an answer holds, for the API's description; the answers themselves are plain dictionaries."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class PageQuery(Query):
    page: int = Field(default=1, ge=1, le=PAGE_MAX)
    limit: int = Field(default=10, ge=1, le=LIMIT_MAX)

    def meta(self, total: int) -> dict[str, int]:
        return {"page": self.page, "limit": self.limit, "total": total}


class PageMeta(View):
    page: int
    limit: int
    total: int


class Envelope(View, Generic[T]):
    success: bool
    message: str
    data: T


class PageEnvelope(View, Generic[T]):
    success: bool
    message: str
    data: list[T]
    meta: PageMeta


class ErrorField(View):
    field: str
    message: str


class ErrorEnvelope(View):
    """Every refusal. `code` is stable; `error` repeats `message` for clients of an older dialect."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")

    success: bool
    message: str
    error: str
    code: str
    errors: list[ErrorField]
    status_code: int
    data: dict[str, Any] | None = None
