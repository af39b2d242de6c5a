"""The paths of the description: ``/openapi.json`` for programs, and ``/docs`` for people.

Both are written once in a process, when its first application is built.
"""

import json
from functools import cache

from quart import Response
from quart_trio import QuartTrio

from relay_gateway.web.description.document import document
from relay_gateway.web.description.page import make_page

__all__ = ["add_description"]


def add_description(app: QuartTrio, page_headers: dict[str, str]) -> None:
    """Add the paths to an application."""
    described, page = _written()

    async def describe() -> Response:
        return Response(described, content_type="application/json")

    async def docs() -> Response:
        return Response(page, headers=page_headers, content_type="text/html; charset=utf-8")

    app.add_url_rule("/openapi.json", view_func=describe)
    app.add_url_rule("/docs", view_func=docs)


@cache
def _written() -> tuple[bytes, bytes]:
    described = json.dumps(document(), ensure_ascii=False)
    return described.encode(), make_page(document()).encode()
