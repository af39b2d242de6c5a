"""The OpenAPI 3.1 document: the operations, with the models that they name.

It is made once in a process, because the models' schemas take some time. For example::

    document()["paths"]["/healthz"]["get"]["operationId"]     # "alive"

OpenAPI 3.1 has no word for a stream. So the schema of one is that of each event, as tools expect
it, and ``x-events`` has the schemas of the events' data by name.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from relay_gateway.web.description import chat, monitoring, native
from relay_gateway.web.description.operation import Content, Operation, Parameter, Reply

__all__ = ["document"]

_SCHEMAS = "#/components/schemas/"
_OPERATIONS = (*native.OPERATIONS, *chat.OPERATIONS, *monitoring.OPERATIONS)

_INTEGER, _STRING = {"type": "integer"}, {"type": "string"}
#: Headers of responses: the schema, and what it says.
_HEADERS: dict[str, tuple[Mapping[str, Any], str]] = {
    "Cache-Control": (_STRING, "no-cache, no-transform"),
    "Retry-After": ({**_INTEGER, "minimum": 1}, "seconds after which asking again may succeed"),
    "X-Accel-Buffering": ({**_STRING, "const": "no"}, "tells nginx not to hold the stream back"),
    "x-should-retry": (
        {**_STRING, "const": "false"},
        "tells OpenAI's and Anthropic's libraries not to ask again; present if a model was asked",
    ),
}


@cache
def document() -> dict[str, Any]:
    """Return the document, which is not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Token Relay",
            "version": version("token-relay"),
            "description": "Streams a language model's tokens, and stops the model when its reader"
            " leaves.",
        },
        "tags": [{"name": name} for name in dict.fromkeys(each.tag for each in _OPERATIONS)],
        "paths": _paths(_OPERATIONS),
        "components": {"schemas": _schemas(_OPERATIONS), "headers": _headers()},
    }


# -- paths -----------------------------------------------------------------------------------------


def _paths(operations: Iterable[Operation]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return paths


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _contents((operation.body,))}
    described["responses"] = {str(each.status.value): _reply(each) for each in operation.replies}
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.is_required,
        "schema": dict(parameter.schema),
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _reply(reply: Reply) -> dict[str, Any]:
    described: dict[str, Any] = {"description": reply.description}
    if reply.headers:
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in reply.headers}
        described["headers"] = headers
    described["content"] = _contents(reply.content)
    return described


def _contents(contents: Iterable[Content]) -> dict[str, Any]:
    return {each.media_type: _content(each) for each in contents}


def _content(content: Content) -> dict[str, Any]:
    described: dict[str, Any] = {"schema": _schema(content)}
    if content.events:
        described["x-events"] = {
            name: {"anyOf": [_reference(model) for model in models]}
            for name, models in content.events.items()
        }
    if content.examples:
        examples = {name: {"value": value} for name, value in content.examples.items()}
        described["examples"] = examples
    return described


def _schema(content: Content) -> dict[str, Any]:
    if content.model is not None:
        return _reference(content.model)
    if content.events:
        return _event(content)
    return {} if content.media_type == "application/json" else dict(_STRING)


def _event(content: Content) -> dict[str, Any]:
    names = list(content.events)
    return {
        "description": "An event of the stream; `x-events` has what its data is.",
        "type": "object",
        "properties": {"event": {"enum": names, "default": "message"}, "data": dict(_STRING)},
        "required": ["data"],
    }


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"{_SCHEMAS}{model.__name__}"}


def _headers() -> dict[str, Any]:
    return {
        name: {"description": text, "schema": dict(schema)}
        for name, (schema, text) in _HEADERS.items()
    }


# -- schemas ---------------------------------------------------------------------------------------


class _WithoutTitles(GenerateJsonSchema):
    """A field's title is its name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    models = dict.fromkeys(model for each in operations for model in _models(each))
    _, made = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=f"{_SCHEMAS}{{model}}",
        schema_generator=_WithoutTitles,
    )
    schemas: dict[str, Any] = made["$defs"]
    return {name: _in_markdown(schema) for name, schema in schemas.items()}


def _models(operation: Operation) -> Iterator[type[BaseModel]]:
    bodies = [] if operation.body is None else [operation.body]
    for content in [*bodies, *(each for reply in operation.replies for each in reply.content)]:
        yield from () if content.model is None else (content.model,)
        for models in content.events.values():
            yield from models


def _in_markdown(schema: dict[str, Any]) -> dict[str, Any]:
    """Write a docstring as OpenAPI's descriptions are written."""
    if "description" not in schema:
        return schema
    return {**schema, "description": inspect.cleandoc(schema["description"]).replace("``", "`")}
