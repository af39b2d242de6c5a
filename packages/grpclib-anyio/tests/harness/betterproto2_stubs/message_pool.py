"""Where betterproto2's generated code registers its messages."""

# mypy: ignore-errors
# The library has no types for it.

import betterproto2

default_message_pool = betterproto2.MessagePool()
