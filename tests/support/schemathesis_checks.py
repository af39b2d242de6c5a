"""What schemathesis checks of each response beside its own checks; it imports this module.

Its own see the status, the headers and the shape. These see what the events of a stream are, and
whether a request that the schema allows is refused by us.
"""

from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, Response

from tests.support.described import check_response, operation_at

__all__ = ["data_of_events_is_described", "only_models_refuse_what_is_described"]


#: JSON schema cannot say of two fields that they are the same.
_NOT_IN_A_SCHEMA = "two names of one limit"


@schemathesis.check
def data_of_events_is_described(_: CheckContext, response: Response, case: "Case[Any]") -> None:
    """Compare all of a response with the document."""
    operation = operation_at(case.method, case.path)
    if operation is None or case.method not in {"GET", "POST"}:
        return
    body: Any = case.body if isinstance(case.body, dict) else {}
    is_json = case.path.startswith("/v1/") or body.get("format") == "json"
    headers = {name: ", ".join(values) for name, values in response.headers.items()}
    check_response(operation, response.status_code, headers, response.content, is_json=is_json)


@schemathesis.check
def only_models_refuse_what_is_described(
    _: CheckContext, response: Response, case: "Case[Any]"
) -> None:
    """See that what the schema allows is taken, unless the model service says that it cannot."""
    is_allowed = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
    if is_allowed and response.status_code == HTTPStatus.BAD_REQUEST:
        is_of_model = "x-should-retry" in response.headers
        assert is_of_model or _NOT_IN_A_SCHEMA in response.text, response.text
