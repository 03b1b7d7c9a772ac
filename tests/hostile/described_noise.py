"""What the description of the API allows, and what it just does not: schemathesis, as everybody, over real HTTP."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import schemathesis
import schemathesis.generation.jsonschema.builder  # now, and not beside the threads of a test
from schemathesis import GenerationMode

from tests.hostile.drawing import drawn
from tests.hostile.house import House
from tests.hostile.oracle import Answer, Noted, judge

# What would end the noise itself: nobody can be heard from an address that is denied.
LEFT_OUT = {"POST /api/ip-rules"}


def hear_described(house: House, count: int, number: int, noted: Noted, tick: Callable[[], None]) -> None:
    """So many cases over all operations, well formed and not, as nobody, a buyer and an admin in turn."""
    schema = schemathesis.openapi.from_url(f"{house.shop.url}/api/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    whose = cycle([house.admin_token, None, *house.tokens[1:4]])

    def one(case: Any) -> None:
        token = next(whose)
        _ask(case, token, noted)
        tick()

    rounds = [(each, mode) for each in operations if each.label not in LEFT_OUT for mode in GenerationMode]
    for at, (operation, mode) in enumerate(rounds):
        some = count * (at + 1) // len(rounds) - count * at // len(rounds)
        if some:
            can_be_wrong = bool(operation.body or operation.query)
            strategy = operation.as_strategy(generation_mode=mode if can_be_wrong else GenerationMode.POSITIVE)
            drawn(house, strategy, some, number, one)


def _ask(case: Any, token: str | None, noted: Noted) -> None:
    response = case.call(headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30)
    noted.count("described http", str(response.status_code))
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    answer = Answer(response.status_code, headers, response.content)
    said = (case.method, case.formatted_path, case.query, case.headers, case.body)
    noted.complain("described http", said, judge(case.method, case.formatted_path, answer))
