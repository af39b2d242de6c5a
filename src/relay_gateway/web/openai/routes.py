"""OpenAI's paths: an answer to a conversation, streamed or whole, and the list of models.

Every request for an answer is a ``Relay`` like those of ``/api/ai/stream``, so a client that leaves
stops the model, also when the answer is not streamed.
"""

import json
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from grpclib.exceptions import GRPCError
from quart import Request, Response
from quart import request as current_request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, NotFound

from grpclib_anyio.client import Channel
from relay_gateway.relay.encoder import Encoder
from relay_gateway.relay.outcome import Outcome, outcome_of
from relay_gateway.relay.relay import Relay
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.answer import AnswerBody
from relay_gateway.web.catalogue import Catalogue, no_such_model
from relay_gateway.web.conversation import DEFAULT_MODEL, check_size
from relay_gateway.web.failure import headers_of, status_of
from relay_gateway.web.json_body import read_json_object
from relay_gateway.web.openai.chunks import ChunkEncoder
from relay_gateway.web.openai.completion import CompletionEncoder
from relay_gateway.web.openai.errors import error_object, failure_object
from relay_gateway.web.openai.request import read_request
from relay_proto.ai import GenerateRequest, Model

__all__ = ["OpenAIRoutes", "error_response"]

Begin = Callable[[Relay, dict[str, Any]], None]

#: For clients of OpenAI's other APIs, such as `/v1/responses`.
_NO_SUCH_PATH = "There is no such path: clients can use /v1/chat/completions and /v1/models."


class OpenAIRoutes:
    """The routes' functions, and what they share."""

    def __init__(
        self,
        settings: GatewaySettings,
        model: Channel,
        catalogue: Catalogue,
        begin: Begin,
        stream_headers: dict[str, str],
    ) -> None:
        """Answer from ``model``; ``begin`` is told of each request for an answer."""
        self._model = model
        self._catalogue = catalogue
        self._begin = begin
        self._settings = settings
        self._stream_headers = stream_headers

    def add_to(self, app: QuartTrio) -> None:
        """Add the routes to an application."""
        app.add_url_rule("/v1/chat/completions", view_func=self.complete, methods=["POST"])
        app.add_url_rule("/v1/models", view_func=self.list_models)
        app.add_url_rule("/v1/models/<path:name>", view_func=self.show_model)

    # -- answers --------------------------------------------------------------------------------

    async def complete(self) -> Response:
        """Answer a conversation."""
        # Quart's global looks the request up each time that an attribute is read.
        request: Request = cast("Any", current_request)._get_current_object()  # noqa: SLF001 - werkzeug documents it
        asked = read_request(await read_json_object(request))
        contract = asked.to_contract()
        check_size(asked, self._settings.max_prompt_bytes)
        try:
            await self._catalogue.check(asked, contract)
        except GRPCError as error:
            raise _FailedError(outcome_of(error)) from error
        answer = {
            "id": f"chatcmpl-{secrets.token_hex(16)}",
            "created": int(time.time()),
            "model": asked.model or DEFAULT_MODEL,
        }
        if asked.stream:
            encoder: Encoder = ChunkEncoder(answer, includes_usage=asked.wants_usage)
            relay = self._relay(contract, encoder, request)
            hold = self._settings.hold_seconds
            body = AnswerBody(relay, hold=hold, on_failure=_failure_response)
            return Response(body, headers=self._stream_headers)
        whole = CompletionEncoder(answer, max_characters=self._settings.max_answer_characters)
        relay = self._relay(contract, whole, request)
        return Response(
            AnswerBody(
                relay,
                on_failure=_failure_response,
                on_end=lambda: _json_response(whole.json()),
            )
        )

    def _relay(self, contract: GenerateRequest, encoder: Encoder, request: Request) -> Relay:
        relay = Relay(self._model, contract, encoder, self._settings.limits)
        self._begin(relay, cast("dict[str, Any]", request.scope))
        return relay

    # -- models ---------------------------------------------------------------------------------

    async def list_models(self) -> Response:
        """List the models."""
        models = [_model_object(model) for model in await self._models()]
        return _json_response({"object": "list", "data": models})

    async def show_model(self, name: str) -> Response:
        """Show one model."""
        for model in await self._models():
            if model.id == name:
                return _json_response(_model_object(model))
        raise no_such_model(name)

    async def _models(self) -> list[Model]:
        try:
            return await self._catalogue.models()
        except GRPCError as error:
            raise _FailedError(outcome_of(error)) from error


def _model_object(model: Model) -> dict[str, Any]:
    owner = model.owned_by or "relay"
    return {"id": model.id, "object": "model", "created": model.created or 0, "owned_by": owner}


# -- responses -------------------------------------------------------------------------------------


def _json_response(
    payload: dict[str, Any], status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    body = json.dumps(payload, ensure_ascii=False)
    return Response(body, status, {"Content-Type": "application/json", **(headers or {})})


def _failure_response(failure: Outcome) -> Response:
    status = status_of(failure)
    return _json_response(failure_object(failure, status), status, headers_of(failure))


def error_response(error: HTTPException) -> Response:
    """Say in OpenAI's shape why a request was refused; also for what Quart itself refuses."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    is_path = isinstance(error, NotFound)
    message = _NO_SUCH_PATH if is_path else error.description or error.name
    param, word = getattr(error, "param", None), getattr(error, "word", None)
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return _json_response(error_object(status, message, param=param, code=word), status, headers)


class _FailedError(HTTPException):
    """The model service cannot be asked."""

    def __init__(self, failure: Outcome) -> None:
        super().__init__(failure.message, response=_failure_response(failure))
