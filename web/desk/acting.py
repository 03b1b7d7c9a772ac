"""How a page of the desk asks and does things: by the API's views, with their own words for what is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import request
from flask.wrappers import Response
from pydantic import BaseModel

from web.schemas import Query
from web.trail import say_action

Q = TypeVar("Q", bound=Query)
ApiView = Callable[..., Response]

ROWS = 25
# In the address of the page that says that it was done; no field of any search.
DONE = "done"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view of the API answered: its `data`, its `meta`, and the address of what it made."""

    data: Any
    meta: Mapping[str, Any]
    message: str
    location: str | None


def ask(view: ApiView, **arguments: BaseModel) -> Answer:
    """Call a view of the API. Raises what it raises."""
    response = view(**arguments)
    body = response.get_json()
    return Answer(body["data"], body.get("meta") or {}, body["message"], response.location)


def act(view: ApiView, **arguments: BaseModel) -> Answer:
    """Call a view of the API that changes something, and tell the operators' log which one it was."""
    answer = ask(view, **arguments)
    body = arguments.get("body")
    given = body.model_dump(mode="json", by_alias=True, exclude_unset=True) if body else {}
    # `web.sales.pause` is the endpoint `sales.pause`, by either door.
    say_action(f"{view.__module__.rpartition('.')[2]}.{view.__name__}", given, answer.location)
    return answer


def read_query(schema: type[Q], **defaults: Any) -> Q:
    """The address's query by the API's own schema; a field of a search form that was left empty does not count.

    Raises pydantic's ValidationError, which becomes a page.
    """
    typed = {name: value for name, value in request.args.items() if value and name != DONE}
    return schema.model_validate({**defaults, **typed})


def made_id(answer: Answer) -> str:
    """The id at the end of a new thing's address."""
    return (answer.location or "").rpartition("/")[2]
