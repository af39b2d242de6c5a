"""Writes the TypeScript types of docs/http.md from the OpenAPI document.

For example, a field that may be absent or null becomes ``seed?: number | null;``. Run it after each
change of a request or an event:

    python docs/make_types.py
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from relay_gateway.web.description.document import document

__all__ = ["PAGE", "types", "written"]

PAGE = Path(__file__).with_name("http.md")
_BEGIN, _END = "<!-- begin types -->", "<!-- end types -->"
_PATH = "/api/ai/stream"
_TYPES = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}


def written(text: str) -> str:
    """Return the page's text with the types that the document gives."""
    before, _, rest = text.partition(_BEGIN)
    block = f"{_BEGIN}\n\n```ts\n{types()}\n```\n\n{_END}"
    return before + block + rest.partition(_END)[2]


def types() -> str:
    """Return the types of a request of the native API and of its events."""
    operation = document()["paths"][_PATH]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    events = operation["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    problem = operation["responses"]["400"]["content"]["application/problem+json"]["schema"]
    declared = [_declaration(name) for name in _named([body, *events.values(), problem])]
    return "\n\n".join([*declared, _events(events)])


def _events(events: Mapping[str, Any]) -> str:
    lines = [f"  {name}: {_type(schema)};" for name, schema in events.items()]
    text = "/** What `JSON.parse(event.data)` gives, by the event's name, with `format=json`. */"
    return "\n".join([text, "export type Events = {", *lines, "};"])


def _named(schemas: Iterable[Any]) -> list[str]:
    """Name the models that schemas refer to, each after the one that names it first."""
    names: list[str] = []
    for schema in schemas:
        for name in _references(schema):
            if name not in names:
                names.append(name)
                names += [each for each in _named([_model(name)]) if each not in names]
    return list(dict.fromkeys(names))


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield _name(schema["$ref"])
        for key, each in schema.items():
            yield from () if key == "discriminator" else _references(each)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _model(name: str) -> Any:
    return document()["components"]["schemas"][name]


# -- one model -------------------------------------------------------------------------------------


def _declaration(name: str) -> str:
    schema = _model(name)
    head = [_comment(schema), f"export type {name} = {_type(schema)};"]
    return "\n".join(filter(None, head))


def _comment(schema: Mapping[str, Any], indent: str = "") -> str:
    text = " ".join(schema.get("description", "").split())
    return f"{indent}/** {text} */" if text else ""


def _type(schema: Mapping[str, Any]) -> str:
    """Write what a value is."""
    if "$ref" in schema:
        return _name(schema["$ref"])
    if "properties" in schema:
        return _object(schema)
    if alternatives := schema.get("anyOf", schema.get("oneOf")):
        return " | ".join(map(_type, alternatives))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " | ".join(map(json.dumps, values))
    return _by_type(schema, schema.get("type", "unknown"))


def _by_type(schema: Mapping[str, Any], name: str) -> str:
    if name == "array":
        item = _type(schema["items"])
        return f"({item})[]" if " | " in item else f"{item}[]"
    if name == "object":
        return f"Record<string, {_type(schema.get('additionalProperties', {}))}>"
    return _TYPES.get(name, name)


def _object(schema: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for name, field in schema["properties"].items():
        mark = "" if name in schema.get("required", ()) else "?"
        lines += [_comment(field, "  "), f"  {name}{mark}: {_type(field)};"]
    fields = "\n".join(["{", *filter(None, lines), "}"])
    if "oneOf" not in schema:
        return fields
    names = [each["required"][0] for each in schema["oneOf"]]
    return f"{fields} & (\n{''.join(_form(schema, name, names) for name in names)})"


def _form(schema: Mapping[str, Any], has: str, names: Iterable[str]) -> str:
    """Write one of several forms of an object, each of which has a field that no other has."""
    others = "".join(f" {name}?: never;" for name in names if name != has)
    return f"  | {{ {has}: {_type(schema['properties'][has])};{others} }}\n"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
