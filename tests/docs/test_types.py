"""The TypeScript types of docs/http.md are those of the OpenAPI document, and are TypeScript."""

import re
from pathlib import Path
from typing import Any

import pytest

from docs.make_types import PAGE, types, written
from relay_gateway.web.description.document import document
from tests.support.node import run_node

SCHEMAS = document()["components"]["schemas"]
DECLARED = re.findall(r"^export type (\w+) = ", types(), re.MULTILINE)
#: The program of the page, which uses the types.
EXAMPLE = re.compile(r"with `format=json`:\n\n```ts\n(.+?)```", re.DOTALL)


def _declaration(name: str) -> str:
    return types().partition(f"export type {name} = ")[2].partition("\n\n")[0]


def test_types_are_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == written(text), "run python docs/make_types.py"


def test_each_type_is_declared_once_and_what_it_needs_as_well() -> None:
    assert len(DECLARED) == len(set(DECLARED)) > 20
    used = set(re.findall(r"\b[A-Z]\w+", re.sub(r"/\*\*.*?\*/|\"[^\"]*\"", "", types())))
    assert used - set(DECLARED) == {"Record"}


@pytest.mark.parametrize(
    "name", [name for name in DECLARED if "properties" in SCHEMAS.get(name, {})]
)
def test_a_type_has_the_fields_of_its_schema(name: str) -> None:
    schema: dict[str, Any] = SCHEMAS[name]
    fields = dict(re.findall(r"^  (\w+)(\??): .+;$", _declaration(name), re.MULTILINE))
    required = set(schema.get("required", ()))
    assert fields == {field: "" if field in required else "?" for field in schema["properties"]}
    for field, each in schema["properties"].items():
        may_be_null = {"type": "null"} in each.get("anyOf", ())
        line = re.search(rf"^  {field}\??: (.+);$", _declaration(name), re.MULTILINE)
        assert line is not None
        assert ("null" in line[1].split(" | ")) == may_be_null


def test_node_reads_them(tmp_path: Path) -> None:
    """It takes types away that it can parse; it does not check them."""
    example = EXAMPLE.search(PAGE.read_text(encoding="utf-8"))
    assert example is not None
    program = tmp_path / "program.mts"
    asked = 'console.log(request.prompt, token(\'{"token": "x"}\'));\n'
    program.write_text(f"{types()}\n{example[1]}\n{asked}", encoding="utf-8")
    done = run_node("--disable-warning=ExperimentalWarning", program)
    assert (done.stderr, done.stdout) == ("", "Why is the sky blue? { token: 'x' }\n")
