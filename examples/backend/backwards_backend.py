"""A backend in a package of its own. Its pyproject.toml says how to install and start it."""

from collections.abc import AsyncGenerator

import anyio

from relay_model.conversation import Conversation


async def answer(conversation: Conversation) -> AsyncGenerator[str]:
    for word in reversed(conversation.prompt.split()):
        yield f"{word} "
        await anyio.sleep(0.05)  # a caller that leaves ends the answer here
