"""What a page of another origin may do: ask both APIs, and read the answers (Fetch § 3.3, CORS).

A browser asks before it sends a header that not every form can send. For example, OpenAI's library
sends a key and a dozen headers about itself::

    OPTIONS /v1/chat/completions
    Access-Control-Request-Headers: authorization,content-type,x-stainless-lang,…

The gateway knows no cookies, so such a page can do nothing that its own server could not do.
"""

from quart import Response

__all__ = ["allow_all_origins"]

#: The APIs, and their description.
_READABLE = ("/api/", "/v1/", "/openapi.json")

_ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    # A page sees no other headers than the safelisted ones; these two say whether to ask again.
    "Access-Control-Expose-Headers": "Retry-After, x-should-retry",
}
_ALLOWED_BEFORE = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    # The star stands for every name but this one (Fetch § 3.3.4). Libraries add names at any time.
    "Access-Control-Allow-Headers": "Authorization, *",
    # Seconds. Otherwise a browser asks again five seconds later, and its answer waits for that.
    "Access-Control-Max-Age": "600",
}


def allow_all_origins(response: Response, path: str, method: str) -> None:
    """Let pages of every origin read a response of the APIs, or send what they ask leave for."""
    if path.startswith(_READABLE):
        response.headers.update(_ALLOWED_BEFORE if method == "OPTIONS" else _ALLOWED)
