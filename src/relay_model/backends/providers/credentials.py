"""Checks of a provider's key and model, made when a backend opens and not at the first prompt.

For example ``relay-model --backend openai`` without a key ends with the line
``relay-model: error: OPENAI_API_KEY is not set``.
"""

import os
from typing import TYPE_CHECKING

from relay_common.errors import StartupError

if TYPE_CHECKING:
    from relay_model.backends.settings import BackendSettings

__all__ = ["check_key", "require_key", "require_model"]


def require_model(settings: "BackendSettings") -> str:
    """Return the model's name.

    Raises:
        StartupError: no model is set.

    """
    if settings.model is None:
        message = f"the {settings.backend} backend needs --model (RELAY_MODEL_MODEL)"
        raise StartupError(message)
    return settings.model


def require_key(variable: str) -> str:
    """Return the key that an environment variable contains.

    Raises:
        StartupError: the variable is not set, or its value cannot be a key.

    """
    check_key(variable)
    if not (key := os.environ.get(variable)):
        message = f"{variable} is not set"
        raise StartupError(message)
    return key


def check_key(variable: str) -> None:
    """Check that an environment variable is empty, or contains what can be sent as a key.

    Without this check the HTTP client would raise an error that shows the key.

    Raises:
        StartupError: the value cannot be sent, for example because it ends with a line break.

    """
    key = os.environ.get(variable, "")
    if not all("!" <= character <= "~" for character in key):
        message = f"{variable} holds a space, a line break or another character that no key has"
        raise StartupError(message)
