"""Refusing what a backend cannot do, by name, so that nothing that was asked is ignored.

For example, a backend that only continues text, at a temperature::

    _SUPPORT = Support("mine", parameters={"max_tokens", "temperature"})
    _SUPPORT.check(conversation)    # BackendError: tools: the backend mine has no tools
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from relay_model.conversation import Conversation, Format, Image, Parameters, ToolCall
from relay_model.errors import refused

__all__ = ["EVERY_PARAMETER", "Support"]

EVERY_PARAMETER = frozenset(Parameters._fields)
"""The names of all parameters."""


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

    def check(self, conversation: Conversation) -> None:
        """Refuse what the backend cannot do.

        Raises:
            BackendError: INVALID_ARGUMENT with the first field that it cannot heed.

        """
        for field, reason in self._refusals(conversation):
            raise refused(field, f"the backend {self.backend} {reason}")

    def _refusals(self, conversation: Conversation) -> Iterator[tuple[str, str]]:
        if conversation.tools and not self.tools:
            yield "tools", "has no tools"
        if conversation.response_format.type not in self.formats:
            yield "response_format", "writes no JSON"
        for name, value in conversation.parameters._asdict().items():
            if name not in self.parameters and value is not None and value != ():
                yield f"parameters.{name}", "takes no such parameter"
        for index, message in enumerate(conversation.messages):
            for number, part in enumerate(message.parts):
                field = f"messages[{index}].parts[{number}]"
                if isinstance(part, Image) and not self.images:
                    yield field, "reads no images"
                if isinstance(part, ToolCall) and not self.tools:
                    yield field, "has no tools"
