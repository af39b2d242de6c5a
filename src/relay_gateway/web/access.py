"""Who may use a gateway that is for the user of this machine only.

``relay-demo`` asks for no key, and an answer may cost money. A page of another site can make the
user's browser ask it. So a request is looked at before any model is asked. For example, when the
gateway listens on 127.0.0.1:8080:

=============================================  =================================================
``Host: localhost:8080``                       served
``Host: name.example:8080``                    403: a name that anybody may let stand for 127.0.0.1
``Origin: http://localhost:5173``              served: a page that this machine serves
``Origin: https://name.example``               403
``Sec-Fetch-Site: cross-site``, no ``Origin``  403, for example an image; a link is served
=============================================  =================================================
"""

from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from quart import request as current_request

from relay_gateway.web.refusal import RefusedError

if TYPE_CHECKING:
    from quart import Request

__all__ = ["LocalAccess"]

_LOOPBACK_NAME = "localhost"
#: To these, another site may have a link.
_PAGES = frozenset({"/", "/docs"})


class LocalAccess:
    """Refuses what another site has a browser ask for."""

    def __init__(self, host: str) -> None:
        """Let the gateway be called by ``host`` as well, the address that it listens on."""
        self._host = host.lower()

    async def check(self) -> None:
        """Look at the current request, before it is answered; not a checkpoint.

        Raises:
            RefusedError: its host or its origin is another one's.

        """
        # Quart's global looks the request up each time that an attribute is read.
        request: Request = cast("Any", current_request)._get_current_object()  # noqa: SLF001 - werkzeug documents it
        host = request.headers.get("Host", "")
        if not self._is_own(_hostname(host), request):
            raise _refused("this host is not served", "host")
        origin = request.headers.get("Origin")
        if origin is None:
            if _is_cross_site(request):
                raise _refused("a page of another site asks for this", "origin")
        elif not (_is_loopback(_hostname_of_url(origin)) or _is_origin_of(origin, host)):
            raise _refused("this origin is not served", "origin")

    def _is_own(self, name: str, request: "Request") -> bool:
        address, _ = cast("dict[str, Any]", request.scope).get("server") or ("", None)
        return _is_loopback(name) or (name != "" and name in {self._host, address})


def _refused(message: str, field: str) -> RefusedError:
    return RefusedError(message, param=field, status=HTTPStatus.FORBIDDEN)


def _is_cross_site(request: "Request") -> bool:
    """Return whether another site's page asks for more than to show ours.

    Browsers send no ``Origin`` for images, scripts, forms by GET and links, but say this (W3C Fetch
    Metadata).
    """
    is_link = request.path in _PAGES and request.headers.get("Sec-Fetch-Mode") == "navigate"
    return request.headers.get("Sec-Fetch-Site") == "cross-site" and not is_link


def _is_origin_of(origin: str, host: str) -> bool:
    scheme, _, authority = origin.partition("://")
    return scheme in {"http", "https"} and authority.lower() == host.lower()


def _is_loopback(name: str) -> bool:
    """Return whether a name means this machine by itself: an address, or RFC 6761 § 6.3."""
    if name == _LOOPBACK_NAME or name.endswith(f".{_LOOPBACK_NAME}"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str:
    """Return the name or address in a ``Host``; nothing if it is malformed."""
    return _hostname_of_url(f"//{host}")


def _hostname_of_url(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # for example //[::1
        return ""
