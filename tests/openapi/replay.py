"""A Postman collection, run from top to bottom over real HTTP: a small part of what newman does.

Understands variables, path variables, bearer tokens, raw bodies, and the two lines that web/postman.py writes into a
test script: the status that an answer must have, and what of it goes into which variable.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

STATUS = re.compile(r'pm\.test\("[^"]*", \(\) => pm\.response\.to\.have\.status\((\d+)\)\);')
SAVE = re.compile(r'pm\.collectionVariables\.set\("(\w+)", String\(pm\.response\.json\(\)\.([\w.]+)\)\);')
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """What one call came to; `wanted` is None where its script says nothing."""

    name: str
    wanted: int | None
    status: int
    body: str

    @property
    def is_as_wanted(self) -> bool:
        return self.status == self.wanted if self.wanted else self.status < 500

    def __str__(self) -> str:
        return f"{self.name}: {self.status}, not {self.wanted}: {self.body[:500]}"


class Replay:
    """A collection with its variables."""

    def __init__(self, collection: dict[str, Any], environment: dict[str, str]) -> None:
        self._collection = collection
        self.variables = {each["key"]: each["value"] for each in collection["variable"]} | environment
        self._session = requests.Session()

    def run(self, folder: str) -> Iterator[Answer]:
        """Send every call of the folders whose name begins so, in order."""
        for each in self._collection["item"]:
            if each["name"].startswith(folder):
                yield from map(self._send, each["item"])

    def _send(self, item: dict[str, Any]) -> Answer:
        request = item["request"]
        path = {each["key"]: self._filled(each["value"]) for each in request["url"]["variable"]}
        parts = [path[part[1:]] if part.startswith(":") else part for part in request["url"]["path"]]
        headers = {each["key"]: self._filled(each["value"]) for each in request["header"] if not each.get("disabled")}
        if request["auth"]["type"] == "bearer":
            headers["Authorization"] = "Bearer " + self._filled(request["auth"]["bearer"][0]["value"])
        query = {
            each["key"]: self._filled(each["value"]) for each in request["url"]["query"] if not each.get("disabled")
        }
        answer = self._session.request(
            request["method"],
            "/".join([self._filled(request["url"]["host"][0]), *parts]),
            params=query,
            headers=headers,
            data=self._filled(request["body"]["raw"]).encode() if "body" in request else None,
            timeout=TIMEOUT_SECONDS,
        )
        return Answer(item["name"], self._judge(item, answer), answer.status_code, answer.text)

    def _judge(self, item: dict[str, Any], answer: requests.Response) -> int | None:
        wanted = None
        for event in item.get("event", []):
            for line in event["script"]["exec"]:
                if found := STATUS.fullmatch(line):
                    wanted = int(found[1])
                elif found := SAVE.fullmatch(line):
                    if answer.status_code == wanted:
                        self.variables[found[1]] = str(_reach(answer.json(), found[2]))
                else:
                    raise ValueError(f"{item['name']} has a line that this runner does not understand: {line}")
        return wanted

    def _filled(self, text: str) -> str:
        return re.sub(r"\{\{(\$?\w+)\}\}", self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        name = found[1]
        if name == "$guid":
            return str(uuid.uuid4())
        if name == "$isoTimestamp":
            return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # JSON inside JSON: what is put into a body must not end its text.
        return json.dumps(self.variables[name])[1:-1]


def _reach(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body[name]
    return body
