"""Mutants of the programs: how they start, and how they stop."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_SHUTDOWN = "src/relay_gateway/web/shutdown.py"
_ROUTES = "src/relay_gateway/web/routes.py"
_WORKER = "src/relay_gateway/server/worker.py"
_IDLE = "src/relay_gateway/server/idle.py"
_ACCEPT = "src/relay_gateway/server/accept.py"
_CLI = "src/relay_common/cli.py"
_TARGET = "src/relay_common/target.py"
_WORKERS = "src/relay_gateway/workers/"
_HTTP2 = "src/relay_gateway/server/http2.py"

_TEST_GRACE = "tests/gateway/test_grace.py::"
_TEST_LAST = "tests/gateway/test_last_call.py::"
_TEST_CLI = "tests/common/test_cli.py::"
_TEST_TARGET = "tests/common/test_target.py::"
_TEST_WORKERS = "tests/gateway/test_workers.py::"
_TEST_FIGURES = "tests/gateway/test_figures.py::"
_TEST_LINK = "tests/gateway/test_link.py::"
_TEST_ACCEPT = "tests/gateway/test_accept.py::"

MUTANTS = [
    Mutant(
        0,
        "answers have no grace at a stop",
        _SHUTDOWN,
        right="        await self._until_idle(grace)\n",
        wrong="",
        tests=(f"{_TEST_GRACE}test_answers_end_in_the_grace_and_so_does_it",),
    ),
    Mutant(
        0,
        "a request that is refused makes the grace longer",
        "src/relay_gateway/web/http_connection.py",
        right="        is_waited_for = not self._shutdown.has_begun\n",
        wrong="        is_waited_for = True\n",
        tests=(f"{_TEST_GRACE}test_refused_requests_do_not_make_the_grace_longer",),
    ),
    Mutant(
        0,
        "a second order to stop is forgotten when it comes first",
        _SHUTDOWN,
        right="while self.requests and not self._skipped:",
        wrong="while self.requests:",
        tests=(f"{_TEST_GRACE}test_second_order_before_the_first_has_run_is_kept",),
    ),
    Mutant(
        0,
        "a request whose body comes in the grace is stopped at once",
        _ROUTES,
        right="        if self._shutdown.answers_are_stopped:",
        wrong="        if self._shutdown.has_begun:",
        tests=(f"{_TEST_GRACE}test_request_whose_body_comes_late_has_what_is_left_of_the_grace",),
    ),
    Mutant(
        0,
        "a refused client keeps its connection",
        _ROUTES,
        right='            response.headers["Connection"] = "close"',
        wrong="            pass",
        tests=(
            f"{_TEST_GRACE}test_requests_are_refused_in_the_grace_and_their_connections_closed",
        ),
    ),
    Mutant(
        0,
        "what has come is not answered at a stop",
        _WORKER,
        right="            await self._answer_what_has_come()\n",
        wrong="            pass\n",
        tests=(f"{_TEST_LAST}test_connections_in_the_backlog_are_answered",),
    ),
    Mutant(
        0,
        "a second order to stop cuts answers off without a word",
        _WORKER,
        right="                self.skip()\n",
        wrong="",
        tests=(f"{_TEST_LAST}test_second_order_tells_answers_on_the_wire",),
    ),
    Mutant(
        0,
        "a cancellation reaches hypercorn before the answers are told",
        _WORKER,
        right="self.body = trio.CancelScope(shield=True)",
        wrong="self.body = trio.CancelScope()",
        tests=(f"{_TEST_LAST}test_second_order_tells_answers_on_the_wire",),
    ),
    Mutant(
        0,
        "a connection without a request is closed before it can send one",
        _IDLE,
        right="(self._terminated.ends_idle and not self._is_fresh)",
        wrong="self._terminated.ends_idle",
        tests=(f"{_TEST_LAST}test_connection_without_a_request_may_still_send_it",),
    ),
    Mutant(
        0,
        "the kernel makes connections that nobody accepts",
        _ACCEPT,
        right="(0x15, 0, 1, 0x02),",
        wrong="(0x15, 0, 1, 0xFF),",
        tests=(f"{_TEST_ACCEPT}test_kernel_makes_no_connection_after_the_last_call",),
    ),
    Mutant(
        0,
        "GOAWAY comes while streams are open",
        _HTTP2,
        right="worker.is_stopping and self.idle and",
        wrong="worker.is_stopping and",
        tests=(f"{_TEST_LAST}test_http2_streams_under_way_end_before_goaway",),
    ),
    Mutant(
        0,
        "a stream is over before its end is sent",
        _HTTP2,
        right="self._sent if self._complete else self._is_empty",
        wrong="self._is_empty",
        tests=(
            f"{_TEST_LAST}test_http2_streams_under_way_end_before_goaway",
            f"{_TEST_LAST}test_second_order_tells_answers_on_the_wire",
            "tests/cancellation/test_matrix.py::test_cell",
        ),
    ),
    Mutant(
        0,
        "a worker that has ended is not replaced",
        f"{_WORKERS}supervisor.py",
        right="            await self._pause(short_lived)\n",
        wrong="            await self._stop.wait()\n",
        tests=(f"{_TEST_WORKERS}test_worker_that_hangs_is_killed_and_replaced",),
    ),
    Mutant(
        0,
        "a supervisor whose workers do not start never gives up",
        f"{_WORKERS}supervisor.py",
        right="if failed_starts >= self._patience.starts and not self._serving():",
        wrong="if False:",
        tests=(f"{_TEST_WORKERS}test_supervisor_gives_up_when_no_worker_starts",),
    ),
    Mutant(
        0,
        "a worker without answers leaves the others alone at a stop",
        f"{_WORKERS}worker.py",
        right="        await self._end.wait()\n",
        wrong="",
        tests=(f"{_TEST_WORKERS}test_requests_are_refused_until_the_last_worker_has_drained",),
    ),
    Mutant(
        0,
        "a worker goes on without its supervisor",
        f"{_WORKERS}worker.py",
        right="            await self._do(message)\n        await self._skip()\n",
        wrong="            await self._do(message)\n",
        tests=(f"{_TEST_WORKERS}test_workers_end_with_a_supervisor_that_is_killed",),
    ),
    Mutant(
        0,
        "a worker whose loop is blocked goes on without its supervisor",
        f"{_WORKERS}worker.py",
        right="    os._exit(EXIT_FAILURE)\n",
        wrong="",
        tests=(f"{_TEST_WORKERS}test_worker_whose_loop_is_blocked_ends_with_its_supervisor",),
    ),
    Mutant(
        0,
        "a signal to all processes ends the workers",
        f"{_WORKERS}worker.py",
        right="        signal.signal(number, signal.SIG_IGN)\n",
        wrong="        pass\n",
        tests=(f"{_TEST_WORKERS}test_signals_to_a_worker_are_the_supervisors_to_act_on",),
    ),
    Mutant(
        0,
        "a worker that hangs lives on",
        f"{_WORKERS}process.py",
        right='        _log.error("a worker hangs and is killed", worker=self.number)\n'
        "        process.kill()\n",
        wrong='        _log.error("a worker hangs and is killed", worker=self.number)\n',
        tests=(f"{_TEST_WORKERS}test_worker_that_hangs_is_killed_and_replaced",),
    ),
    Mutant(
        0,
        "a worker that hangs holds up a stop",
        f"{_WORKERS}supervisor.py",
        right="            nursery.cancel_scope.deadline = trio.current_time() +"
        " self._longest_stop\n",
        wrong="",
        tests=(f"{_TEST_WORKERS}test_worker_that_hangs_holds_up_no_stop",),
    ),
    Mutant(
        0,
        "counters fall when a worker ends",
        f"{_WORKERS}figures.py",
        right="        self._ended = _merged([self._ended, lasting])\n",
        wrong="        self._ended = self._ended or _merged([[*lasting][:0]])\n",
        tests=(
            f"{_TEST_FIGURES}test_what_ended_processes_have_counted_stays_and_what_they_held_does_not",
        ),
    ),
    Mutant(
        0,
        "the gauges of a dead worker stay",
        f"{_WORKERS}figures.py",
        right="[metric for metric in figures if metric[2] in _LASTING]",
        wrong="[*figures]",
        tests=(
            f"{_TEST_FIGURES}test_what_ended_processes_have_counted_stays_and_what_they_held_does_not",
        ),
    ),
    Mutant(
        0,
        "each worker exposes its own metrics",
        f"{_WORKERS}worker.py",
        right="                metrics=self._metrics,\n",
        wrong="",
        tests=(f"{_TEST_WORKERS}test_metrics_are_one_truth_at_every_scrape",),
    ),
    Mutant(
        0,
        "a message follows one that was cut short",
        f"{_WORKERS}link.py",
        right="            self._is_whole = False\n",
        wrong="",
        tests=(f"{_TEST_LINK}test_nothing_follows_a_message_that_was_cut_short",),
    ),
    Mutant(
        0,
        "the gateway runs on any event loop",
        "src/relay_gateway/web/asgi.py",
        right="        if in_trio_run():",
        wrong="        if True:",
        tests=("tests/gateway/test_programs.py::test_wrong_worker_class_is_said_in_one_line",),
    ),
    Mutant(
        0,
        "a flag that says nothing counts as not given",
        _CLI,
        right="        self.env_ignore_empty = False\n",
        wrong="",
        tests=(f"{_TEST_CLI}test_a_flag_that_says_nothing_is_a_mistake",),
    ),
    Mutant(
        0,
        "a wrong command line is answered with the whole usage",
        _CLI,
        right="super().__init__(settings, cli_exit_on_error=False)",
        wrong="super().__init__(settings)",
        tests=(f"{_TEST_CLI}test_a_wrong_command_line_is_one_line",),
    ),
    Mutant(
        0,
        "help names a function of Python as the default",
        _CLI,
        right='_NO_DEFAULT.sub("", super()._help_format(*args, **options))',
        wrong="super()._help_format(*args, **options)",
        tests=(f"{_TEST_CLI}test_help_says_nothing_of_defaults_that_are_none_or_computed",),
    ),
    Mutant(
        0,
        "a target may have any host",
        _TARGET,
        right="if not (_is_name(host) if match",
        wrong="if not (bool(host) if match",
        tests=(f"{_TEST_TARGET}test_what_is_no_target_is_refused",),
    ),
    Mutant(
        0,
        "a model is asked at port 0",
        _TARGET,
        right="if not 1 <= int",
        wrong="if not 0 <= int",
        tests=(f"{_TEST_TARGET}test_what_is_no_target_is_refused",),
    ),
    Mutant(
        0,
        "the variables of a command are mistakes to another",
        "src/relay_model/settings.py",
        right='frozenset({"PROMPT", "SESSION_ID", "DEADLINE_SECONDS"})',
        wrong="frozenset()",
        tests=("tests/test_variables.py::test_a_variable_of_any_program_is_no_mistake",),
    ),
]
