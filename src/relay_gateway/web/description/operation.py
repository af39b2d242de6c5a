"""What is said of a path: what it is asked, and every response that it gives.

For example, the health check::

    Operation(
        "get", "/healthz", "alive", "Monitoring", "Say whether the process serves",
        replies=(Reply(HTTPStatus.OK, "It does.", (text("ok"),)),),
    )
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "FOREIGN",
    "Answer",
    "Content",
    "Operation",
    "Parameter",
    "Reply",
    "absent",
    "streamed",
    "text",
]


#: When a request is forbidden.
FOREIGN = "Of `relay-demo` only: a page of another site asks, or the host is not this machine."


def _without_defaults(schema: dict[str, Any]) -> None:
    for each in schema.get("properties", {}).values():
        each.pop("default", None)


def absent(description: str | None = None) -> Any:
    """Make a field that may be left out of an answer; it is not null then."""
    return Field(default=None, description=description)


class Answer(BaseModel):
    """A JSON object that is sent; see also :func:`absent`.

    These models describe. The objects are written without them, because a token has to be cheap,
    and tests compare what is sent with them.
    """

    model_config = ConfigDict(json_schema_extra=_without_defaults)


@dataclass(frozen=True)
class Content:
    """A body of one media type."""

    media_type: str
    #: What its JSON is; None for a body that is text.
    model: type[BaseModel] | None = None
    #: What the JSON of a stream's events is, by the name of the event.
    events: Mapping[str, tuple[type[BaseModel], ...]] = field(
        default_factory=dict[str, tuple[type[BaseModel], ...]]
    )
    #: Examples by their names.
    examples: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: HTTPStatus
    #: When it is given.
    description: str
    #: The bodies that it may have.
    content: tuple[Content, ...]
    #: The names of its headers, of those that ``document`` describes.
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """A part of a request beside its body."""

    name: str
    #: ``query``, ``path`` or ``header``.
    place: str
    description: str
    #: A JSON schema.
    schema: Mapping[str, Any]
    is_required: bool = False
    example: str | None = None


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    method: str
    path: str
    #: What programs know it by.
    name: str
    #: What it belongs to.
    tag: str
    summary: str
    replies: tuple[Reply, ...]
    #: More about it, in Markdown.
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None


def text(*examples: str, media_type: str = "text/plain") -> Content:
    """Describe a body that is text."""
    return Content(media_type, examples={str(n): each for n, each in enumerate(examples, 1)})


def streamed(events: Mapping[str, tuple[type[BaseModel], ...]], **examples: str) -> Content:
    """Describe a stream of server-sent events."""
    return Content("text/event-stream", events=events, examples=examples)
