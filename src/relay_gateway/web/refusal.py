"""A request that is refused before any model is asked, with what to do about it.

Each API says it in its own shape: see ``problem`` and ``openai.errors``. For example::

    raise RefusedError("prompt is required", param="prompt")
"""

from http import HTTPStatus

from werkzeug.exceptions import HTTPException

__all__ = ["RefusedError"]


class RefusedError(HTTPException):
    """A request that is refused before any model is asked."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
    ) -> None:
        """Refuse with ``status``.

        Args:
            message: what to do about it; never contains what was asked.
            param: the field that is wrong, for example ``messages[0].content``.
            code: a word that programs compare.
            status: the status of the response.

        """
        super().__init__(message)
        self.code = status.value
        self.param = param
        self.word = code
