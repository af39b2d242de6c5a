"""What monitors and tools ask, described: health, figures, and the description itself."""

from http import HTTPStatus

from relay_gateway.web.description.operation import FOREIGN, Operation, Reply, text

__all__ = ["OPERATIONS"]

_STOPPING = Reply(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The gateway is being stopped.",
    (text("the gateway is being restarted\n"),),
    ("Retry-After",),
)

_FORBIDDEN = Reply(HTTPStatus.FORBIDDEN, FOREIGN, (text("this origin is not served\n"),))

OPERATIONS = (
    Operation(
        "get",
        "/healthz",
        "alive",
        "Monitoring",
        "Say whether the process serves at all",
        (Reply(HTTPStatus.OK, "It does.", (text("ok\n"),)), _FORBIDDEN),
    ),
    Operation(
        "get",
        "/readyz",
        "ready",
        "Monitoring",
        "Say whether requests are taken",
        (Reply(HTTPStatus.OK, "They are.", (text("ok\n"),)), _FORBIDDEN, _STOPPING),
    ),
    Operation(
        "get",
        "/metrics",
        "metrics",
        "Monitoring",
        "Give figures for Prometheus",
        (
            Reply(HTTPStatus.OK, "The figures.", (text("relay_tokens_total 42.0\n"),)),
            _FORBIDDEN,
            Reply(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The other workers cannot be asked.",
                (text("the other workers cannot be asked\n"),),
            ),
        ),
    ),
    Operation(
        "get",
        "/openapi.json",
        "describe",
        "Monitoring",
        "Give this description",
        (
            Reply(
                HTTPStatus.OK,
                "OpenAPI 3.1; `/docs` shows it.",
                (text(media_type="application/json"),),
            ),
            _FORBIDDEN,
            _STOPPING,
        ),
    ),
)
