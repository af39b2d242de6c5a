"""The page, with the settings of its gateway written into it.

The file ``static/index.html`` has the defaults, and this puts what is set in their place. For
example, the page gives up after three missed heartbeats, so it has to know how often they come::

    page_of(GatewaySettings(heartbeat_seconds=5.0))     # … data-heartbeat-seconds="5.0" …
"""

import re
from pathlib import Path

from relay_gateway.settings import GatewaySettings

__all__ = ["page_of"]

_FILE = Path(__file__).with_name("static") / "index.html"


def page_of(settings: GatewaySettings) -> str:
    """Return the page as HTML; reads a file."""
    text = _FILE.read_text(encoding="utf-8")
    text = _written(text, "data-heartbeat-seconds", settings.heartbeat_seconds)
    text = _written(text, "data-hold-seconds", settings.hold_seconds)
    return _written(text, "data-max-prompt-bytes", settings.max_prompt_bytes)


def _written(text: str, attribute: str, value: float) -> str:
    return re.sub(f'{attribute}="[^"]*"', f'{attribute}="{value}"', text)
