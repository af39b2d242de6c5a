"""The description for people: one page of HTML, made of the OpenAPI document, without a script.

For example, a field of a model becomes a row of its table::

    <tr><th scope="row"><code>seed</code></th><td>integer or null</td><td>makes what …</td></tr>
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["make_page"]

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"#/components/schemas/(\w+)")


def make_page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])}: HTTP API</title>
<link rel="icon" type="image/svg+xml" href="static/favicon.svg">
<link rel="stylesheet" href="static/docs.css">
</head>
<body>
<header>
<h1>{escape(info["title"])}: HTTP API</h1>
<p>{_text(info["description"])} Version {escape(info["version"])}. For programs:
<a href="openapi.json">openapi.json</a>.</p>
</header>
<nav aria-label="Paths"><ul>{"".join(_contents(operations))}</ul></nav>
<main>
{"".join(_operation(name, operation, document) for name, operation in operations)}
<section aria-labelledby="models"><h2 id="models">Models</h2>
{"".join(_model(name, schemas[name]) for name in sorted(schemas))}
</section>
</main>
</body>
</html>
"""


def _contents(operations: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, operation in operations:
        link = f'<a href="#{operation["operationId"]}"><code>{escape(name)}</code></a>'
        yield f"<li>{link} {_text(operation['summary'])}</li>"


# -- a path ----------------------------------------------------------------------------------------


def _operation(name: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    key = operation["operationId"]
    headers = document["components"]["headers"]
    body = operation.get("requestBody", {}).get("content", {})
    return f"""<section aria-labelledby="{key}"><h2 id="{key}"><code>{escape(name)}</code></h2>
<p>{_text(operation["summary"])}. {_text(operation.get("description", ""))}</p>
{_parameters(operation.get("parameters", []))}
{"<h3>Body</h3>" if body else ""}{"".join(_content(*each) for each in body.items())}
<h3>Responses</h3>
{"".join(_reply(status, each, headers) for status, each in operation["responses"].items())}
</section>
"""


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (f"{each['name']}", f"{_type(each['schema'])}, in the {each['in']}", _said(each))
        for each in parameters
    ]
    return f"<h3>Parameters</h3>{_table(rows)}" if rows else ""


def _reply(status: str, reply: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    rows = [
        (name, _type(headers[name]["schema"]), _text(headers[name]["description"]))
        for name in reply.get("headers", {})
    ]
    contents = "".join(_content(*each) for each in reply["content"].items())
    return (
        f"<details><summary><strong>{status}</strong> {_text(reply['description'])}</summary>"
        f"{_table(rows) if rows else ''}"
        f"{contents}</details>\n"
    )


def _content(media_type: str, content: Mapping[str, Any]) -> str:
    is_model = "$ref" in content["schema"]
    kind = f": {_type(content['schema'])}" if is_model else ""
    events = [(name, _type(schema), "") for name, schema in content.get("x-events", {}).items()]
    return (
        f"<p><code>{escape(media_type)}</code>{kind}</p>"
        f"{_table(events) if events else ''}"
        f"{''.join(_example(each['value']) for each in content.get('examples', {}).values())}"
    )


def _example(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f'<pre tabindex="0">{escape(shown.rstrip())}</pre>'


# -- a model ---------------------------------------------------------------------------------------


def _model(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (field, _type(each), _said({**each, "required": field in required}))
        for field, each in schema.get("properties", {}).items()
    ]
    text = _text(schema.get("description", "Any JSON."))
    heading = f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>'
    return f"{heading}<p>{text}</p>{_table(rows) if rows else ''}\n"


def _said(each: Mapping[str, Any]) -> str:
    text = _text(each.get("description", ""))
    return f"<em>required</em> {text}".strip() if each.get("required") else text


def _type(schema: Mapping[str, Any]) -> str:
    """Say in HTML what a value is."""
    alternatives = schema.get("anyOf", schema.get("oneOf"))
    if alternatives is not None:
        return " or ".join(_type(each) for each in alternatives)
    if link := _LINK.match(schema.get("$ref", "")):
        return f'<a href="#{link[1]}">{link[1]}</a>'
    if values := schema.get("enum", [schema["const"]] if "const" in schema else ()):
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    kinds: list[str] | str = schema.get("type", "any JSON")
    if kinds == "array":
        return f"list of {_type(schema['items'])}"
    return (kinds if isinstance(kinds, str) else " or ".join(kinds)) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return f", {least} to {most}" if least is not None and most is not None else ""


# -- HTML ------------------------------------------------------------------------------------------


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Make a table of names, which are escaped here, and of two cells of HTML."""
    cells = (
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{kind}</td><td>{text}</td></tr>'
        for name, kind, text in rows
    )
    return f'<div class="table" tabindex="0"><table>{"".join(cells)}</table></div>'


def _text(markdown: str) -> str:
    """Make HTML of text in which only code is marked."""
    return _CODE.sub(r"<code>\1</code>", escape(markdown, quote=False))
