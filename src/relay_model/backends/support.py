"""Refusing what a backend cannot do, by name, so that nothing that was asked is ignored.

For example, a backend that only continues text, at a temperature::

    _SUPPORT = Support("mine", parameters={"max_tokens", "temperature"})
    _SUPPORT.check(conversation)    # BackendError: tools: the backend mine has no tools
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from relay_model.conversation import (
    Conversation,
    Format,
    Image,
    Parameters,
    Part,
    ResponseFormat,
    ToolCall,
)
from relay_model.errors import refused

__all__ = ["EVERY_PARAMETER", "Support"]

EVERY_PARAMETER = frozenset(Parameters._fields)
"""The names of all parameters."""

_USUAL_DETAIL = frozenset({"", "auto"})


@dataclass(frozen=True)
class Support:
    """What a backend can be asked for; text, in several messages, it always can."""

    backend: str
    """Its name."""
    parameters: AbstractSet[str] = frozenset()
    """The parameters that it takes, by their names in ``Parameters``."""
    formats: AbstractSet[Format] = frozenset({Format.TEXT})
    images: bool = False
    tools: bool = False
    details: bool = False
    """Whether it heeds how closely an image is to be looked at."""
    names: bool = False
    """Whether it tells several speakers of one role apart."""
    strict_tools: bool = False
    """Whether it can promise that the arguments of a call fit their schema."""
    descriptions: bool = False
    """Whether it reads what a response format says about itself."""

    def check(self, conversation: Conversation) -> None:
        """Refuse what the backend cannot do.

        Raises:
            BackendError: INVALID_ARGUMENT with the first field that it cannot heed.

        """
        for field, reason in self._refusals(conversation):
            raise refused(field, f"the backend {self.backend} {reason}")

    def _refusals(self, conversation: Conversation) -> Iterator[tuple[str, str]]:
        yield from self._of_tools(conversation)
        yield from self._of_format(conversation.response_format)
        for name, value in conversation.parameters._asdict().items():
            if name not in self.parameters and value is not None and value != ():
                yield f"parameters.{name}", "takes no such parameter"
        for index, message in enumerate(conversation.messages):
            if message.name and not self.names:
                yield f"messages[{index}].name", "tells no speakers apart"
            for number, part in enumerate(message.parts):
                yield from self._of_part(part, f"messages[{index}].parts[{number}]")

    def _of_tools(self, conversation: Conversation) -> Iterator[tuple[str, str]]:
        if conversation.tools and not self.tools:
            yield "tools", "has no tools"
        for index, tool in enumerate(conversation.tools):
            if tool.strict and not self.strict_tools:
                yield f"tools[{index}].strict", "cannot promise that arguments fit their schema"

    def _of_format(self, given: ResponseFormat) -> Iterator[tuple[str, str]]:
        if given.type not in self.formats:
            yield "response_format", "does not write this format"
        if given.description and not self.descriptions:
            yield "response_format.description", "reads none"

    def _of_part(self, part: Part, field: str) -> Iterator[tuple[str, str]]:
        if isinstance(part, Image):
            if not self.images:
                yield field, "reads no images"
            if part.detail not in _USUAL_DETAIL and not self.details:
                yield f"{field}.image.detail", "looks at each image in the same way"
        elif isinstance(part, ToolCall) and not self.tools:
            yield field, "has no tools"
