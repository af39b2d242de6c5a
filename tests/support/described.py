"""Whether a response is one that the OpenAPI document describes."""

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, cast

import jsonschema_rs

from relay_gateway.web.description.document import document
from tests.support.event_stream import Event, parse

__all__ = ["check_response", "described", "operation_at", "validator"]

#: What a server answers to any request, described or not: a method that is none, and a bug.
EVERYWHERE = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.INTERNAL_SERVER_ERROR}
#: Never left out where they are described.
ALWAYS = {"retry-after"}


@cache
def described() -> dict[str, Any]:
    """Give the document, in which an object has no field that is not described."""
    closed = copy.deepcopy(document())
    for schema in closed["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return closed


@cache
def validator(name: str) -> jsonschema_rs.Validator:
    """Give what checks values of a model, by its name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": described()["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def operation_at(method: str, path: str) -> dict[str, Any] | None:
    """Find what is described for a request; None if nothing is."""
    for template, methods in described()["paths"].items():
        expression = re.sub(r"\\{\w+\\}", ".+", re.escape(template))
        if re.fullmatch(expression, path) and method.lower() in methods:
            return cast("dict[str, Any]", methods[method.lower()])
    return None


def check_response(
    operation: Mapping[str, Any],
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    is_json: bool,
) -> None:
    """See that a whole response is described.

    Raises:
        AssertionError: its status, a header, or something in its body is not.
    """
    if status in EVERYWHERE:
        return
    assert str(status) in operation["responses"], f"{status} {body!r}"
    response = operation["responses"][str(status)]
    _check_headers({name.lower() for name in response.get("headers", ())}, set(headers))
    media_type = headers["content-type"].partition(";")[0]
    assert media_type in response["content"], media_type
    content = response["content"][media_type]
    if "x-events" in content:
        _check_events(content["x-events"], parse(body), is_json=is_json)
    elif "$ref" in content["schema"]:
        _validator_of(content["schema"]).validate(json.loads(body))


def _check_headers(described_names: set[str], sent: set[str]) -> None:
    known = {name.lower() for name in described()["components"]["headers"]}
    assert sent & known <= described_names
    assert described_names & ALWAYS <= sent


def _check_events(schemas: Mapping[str, Any], events: Iterable[Event], *, is_json: bool) -> None:
    for event in events:
        assert event.type in schemas, event
        if event.data == "[DONE]" or not (is_json or event.type == "tool_call"):
            continue
        value = json.loads(event.data)
        assert any(each.is_valid(value) for each in _alternatives(schemas[event.type])), event


def _alternatives(schema: Mapping[str, Any]) -> Iterator[jsonschema_rs.Validator]:
    return map(_validator_of, schema["anyOf"])


def _validator_of(reference: Mapping[str, str]) -> jsonschema_rs.Validator:
    return validator(reference["$ref"].rpartition("/")[2])
