"""Writes the tables of docs/configuration.md from the classes that hold the settings.

For example, the field ``port`` of ``GatewaySettings`` becomes the row of ``RELAY_PORT`` and
``--port``, with its default and its bounds. Run it after every change of a setting:

    python docs/make_configuration.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from relay_common.log import LogSettings
from relay_demo.__main__ import DemoSettings
from relay_gateway.settings import GatewaySettings
from relay_model.settings import ModelSettings

__all__ = ["PAGE", "PROGRAMS", "written"]

PAGE = Path(__file__).with_name("configuration.md")
PROGRAMS: tuple[type[LogSettings], ...] = (GatewaySettings, ModelSettings, DemoSettings)

#: Defaults that depend on the machine or on another setting.
_COMPUTED: dict[tuple[type[LogSettings], str], str] = {
    (ModelSettings, "max_concurrent"): "2 for `local`, 1000 for others",
    (ModelSettings, "threads"): "half of the CPUs",
}


def written(text: str) -> str:
    """Return the page's text with the tables that the settings give."""
    for settings in PROGRAMS:
        name = _program(settings)
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        table = "\n".join([begin, "", *_rows(settings), "", end])
        before, _, rest = text.partition(begin)
        text = before + table + rest.partition(end)[2]
    return text


def _program(settings: type[LogSettings]) -> str:
    return str(settings.model_config.get("cli_prog_name"))


def _rows(settings: type[LogSettings]) -> Iterator[str]:
    yield "| variable and flag | default | allowed | what it sets |"
    yield "| --- | --- | --- | --- |"
    # A program's own settings first, and the logs' last.
    shared = LogSettings.model_fields
    for name, field in sorted(settings.model_fields.items(), key=lambda item: item[0] in shared):
        variable = f"{settings.model_config.get('env_prefix')}{name.upper()}"
        flag = f"--{name.replace('_', '-')}"
        default = _COMPUTED.get((settings, name)) or _value(field.default)
        cells = (f"`{variable}`<br>`{flag}`", default, _allowed(field), _described(field))
        yield f"| {' | '.join(cells)} |"


def _value(default: Any) -> str:
    return "none" if default is None else f"`{default}`"


def _described(field: FieldInfo) -> str:
    # That all programs share the variables of logs is said once, on the page.
    text = (field.description or "").partition("; RELAY_LOG_")[0]
    return f"{text[:1].upper()}{text[1:]}"


def _allowed(field: FieldInfo) -> str:
    if choices := [each for each in get_args(field.annotation) if isinstance(each, str)]:
        return ", ".join(f"`{choice}`" for choice in choices)
    least, above, most = (_bound(field, kind) for kind in ("ge", "gt", "le"))
    if above is not None:
        return f"more than {above}"
    if least is not None and most is not None:
        return f"{least} to {most}"
    return "" if least is None else f"{least} or more"


def _bound(field: FieldInfo, kind: str) -> Any:
    return next((getattr(each, kind) for each in field.metadata if hasattr(each, kind)), None)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
