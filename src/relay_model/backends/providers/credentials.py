"""What the backends for providers look at before they open, so that no prompt has to find out."""

import os
from typing import TYPE_CHECKING

from relay_common.errors import StartupError

if TYPE_CHECKING:
    from relay_model.settings import ModelSettings

__all__ = ["check_key", "needed_key", "needed_model"]


def needed_model(settings: "ModelSettings") -> str:
    """Return the model's name.

    Raises:
        StartupError: none is set.

    """
    if settings.model is None:
        message = f"the {settings.backend} backend needs --model (RELAY_MODEL_MODEL)"
        raise StartupError(message)
    return settings.model


def needed_key(variable: str) -> str:
    """Return the key that a variable of the environment holds.

    Raises:
        StartupError: it holds none, or no key.

    """
    check_key(variable)
    if not (key := os.environ.get(variable)):
        message = f"{variable} is not set"
        raise StartupError(message)
    return key


def check_key(variable: str) -> None:
    """See that a variable of the environment holds what can be sent as a key, or nothing.

    An HTTP client that cannot send it would raise an error that shows it.

    Raises:
        StartupError: it has a line break at its end, for example.

    """
    key = os.environ.get(variable, "")
    if not all("!" <= character <= "~" for character in key):
        message = f"{variable} holds a space, a line break or another character that no key has"
        raise StartupError(message)
