"""The Postman collection and environment (format 2.1), written from the API's description and web/postman_flow.py.

First a walk through the shop that works from top to bottom, then every other call by chapter.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from flask.wrappers import Response
from pydantic.alias_generators import to_camel

from web.access import public
from web.description import PARAMETERS, Document
from web.json import json_response, to_json
from web.openapi import DescribedApp
from web.postman_flow import ADMIN, CUSTOMER, FLOW, Step

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
URL = "/api/postman.json"
TITLE = "Doorbuster"
BASE_URL = "http://localhost:8000"

Item = dict[str, Any]


def init_postman(app: DescribedApp) -> None:
    """Serve the collection."""

    @app.route(URL, endpoint="postman_collection")
    @public
    def postman_collection() -> Response:
        return json_response(collection(app.api_doc))


def collection(document: Document) -> Document:
    """The collection for a description. Raises KeyError where the flow names an operation that is not described."""
    calls = {call.operation_id: call for call in _calls(document)}
    walk = [_item(calls[step.operation], step) for step in FLOW]
    walked = {step.operation for step in FLOW}
    chapters: dict[str, list[Item]] = {}
    for call in calls.values():
        if call.operation_id not in walked:
            chapters.setdefault(call.tag, []).append(_item(call, None))
    folders = [{"name": "A walk through the shop, from top to bottom", "item": walk}]
    folders += [{"name": f"More: {tag}", "item": items} for tag, items in chapters.items()]
    info = {
        "_postman_id": str(uuid5(NAMESPACE_URL, SCHEMA + TITLE)),
        "name": TITLE,
        "description": document["info"]["description"],
        "schema": SCHEMA,
    }
    found: Document = {"info": info, "item": folders}
    # Every variable that a call uses is there from the start, but for those of the admin, which the environment fills.
    # Where the shop is both say, so that the collection works alone; the environment's word goes before it in Postman.
    names = sorted(set(re.findall(r"\{\{([a-zA-Z]\w*)\}\}", to_json(found).decode())) - set(_environment_values()))
    found["variable"] = [{"key": "baseUrl", "value": BASE_URL}, *({"key": name, "value": ""} for name in names)]
    return found


def environment() -> Document:
    """Where the shop is and who its admin is; the password is filled in by whoever has it."""
    values = [
        {"key": key, "value": value, "type": "secret" if "Password" in key else "default", "enabled": True}
        for key, value in _environment_values().items()
    ]
    return {
        "id": str(uuid5(NAMESPACE_URL, SCHEMA + "environment")),
        "name": TITLE,
        "values": values,
        "_postman_variable_scope": "environment",
    }


def _environment_values() -> dict[str, str]:
    return {"baseUrl": BASE_URL, "adminEmail": "admin@doorbuster.example", "adminPassword": ""}


class _Call:
    """An operation of the description, with its method and path."""

    def __init__(self, method: str, path: str, operation: Document) -> None:
        self.method = method.upper()
        self.path = path
        self.operation = operation
        self.operation_id: str = operation["operationId"]
        self.tag: str = (operation.get("tags") or ["other"])[0]
        self.parameters = [_resolved(each) for each in operation.get("parameters", [])]

    def named(self, place: str) -> list[Document]:
        return [each for each in self.parameters if each["in"] == place]


def _calls(document: Document) -> Iterator[_Call]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield _Call(method, path, operation)


def _resolved(parameter: Document) -> Document:
    reference: str | None = parameter.get("$ref")
    return PARAMETERS[reference.rsplit("/", 1)[1]] if reference else parameter


def _item(call: _Call, step: Step | None) -> Item:
    operation = call.operation
    request: Item = {
        "method": call.method,
        "header": _headers(call, step),
        "url": _url(call, step),
        "auth": _auth(call, step),
        "description": operation.get("description") or operation["summary"],
    }
    body = step.body if step is not None and step.body is not None else _example(operation)
    if body is not None:
        raw = to_json(body).decode()
        request["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
        request["header"].append({"key": "Content-Type", "value": "application/json"})
    item: Item = {"name": step.name if step else operation["summary"], "request": request, "response": []}
    if step is not None:
        item["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": _script(step)}}]
    return item


def _url(call: _Call, step: Step | None) -> Item:
    given_path = step.path if step else {}
    path = [re.sub(r"\{(\w+)\}", r":\1", part) for part in call.path.strip("/").split("/")]
    values: list[Item] = []
    for each in call.named("path"):
        name = each["name"]
        values.append({"key": name, "value": given_path.get(name, f"{{{{{to_camel(name)}}}}}")})
    query: list[Item] = [{"key": key, "value": value} for key, value in (step.query if step else {}).items()]
    if step is None:
        query = [{"key": each["name"], "value": "", "disabled": True} for each in call.named("query")]
    shown = "&".join(f"{each['key']}={each['value']}" for each in query if not each.get("disabled"))
    raw = "{{baseUrl}}/" + "/".join(path) + (f"?{shown}" if shown else "")
    return {"raw": raw, "host": ["{{baseUrl}}"], "path": path, "query": query, "variable": values}


def _headers(call: _Call, step: Step | None) -> list[Item]:
    """Those of the step; for any other call those that it reads, switched off."""
    if step is not None:
        return [{"key": key, "value": value} for key, value in step.headers.items()]
    return [{"key": each["name"], "value": each["example"], "disabled": True} for each in call.named("header")]


def _auth(call: _Call, step: Step | None) -> Item:
    token = step.token if step else None
    if step is None and call.operation.get("security"):
        [needed] = call.operation["security"][0].values()
        token = ADMIN if "admin" in needed else CUSTOMER
    if token is None:
        return {"type": "noauth"}
    return {"type": "bearer", "bearer": [{"key": "token", "value": f"{{{{{token}}}}}", "type": "string"}]}


def _example(operation: Document) -> Mapping[str, Any] | None:
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    found: Mapping[str, Any] | None = media.get("example", {}) if media else None
    return found


def _script(step: Step) -> list[str]:
    """The test of a call: its status, and what it leaves behind. tests/openapi/replay.py reads these lines too."""
    lines = [f'pm.test("answers {step.status}", () => pm.response.to.have.status({step.status}));']
    lines += [
        f'pm.collectionVariables.set("{name}", String(pm.response.json().{path}));' for name, path in step.saves.items()
    ]
    return lines
