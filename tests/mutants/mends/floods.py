"""What one browser can do over HTTP/2: how often, for how long, and to whom."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/src/grpclib_anyio/"
_HTTP2 = "src/relay_gateway/server/http2.py"
_RECEIVER = "src/relay_gateway/server/http2_receiver.py"
_STATE = "src/relay_gateway/server/http2_state.py"
_TCP = "src/relay_gateway/server/tcp.py"

_FLOODS = "tests/gateway/test_http2_floods.py::"
_REQUESTS = "tests/gateway/test_http2_requests.py::"
_EACH_FLOOD = f"{_FLOODS}test_flood_ends_its_connection_and_nobody_elses"
_TRANSPORTS = "packages/grpclib-anyio/tests/test_flood_limits.py::"


def _mutant(name: str, file: str, right: str, wrong: str, *tests: str) -> Mutant:
    return Mutant(0, name, file, right=right, wrong=wrong, tests=tests)


MUTANTS = [
    _mutant(
        "a long code is taken for a long text",
        "packages/grpclib-anyio/src/grpclib_anyio/_fast/hpack_cache.py",
        "length * 8 // _LONGEST_CODE <= longest",
        "length <= self.max_header_list_size",
        "packages/grpclib-anyio/tests/test_hpack_cache.py::"
        "test_text_whose_codes_are_long_is_read_if_the_list_may_have_it",
    ),
    _mutant(
        "a request that is reset in the same read is run",
        _RECEIVER,
        "            self._new[number] = [event]\n",
        "            await self._handle_events([event])\n",
        f"{_FLOODS}test_request_that_is_reset_in_the_same_read_is_not_run",
    ),
    _mutant(
        "requests that are reset before they are run are free",
        _RECEIVER,
        "if self._drop(event.stream_id) or not event.remote_reset:",
        "if not self._drop(event.stream_id) and not event.remote_reset:",
        _EACH_FLOOD,
    ),
    _mutant(
        "resets that a browser provokes are free",
        _RECEIVER,
        "if self._drop(event.stream_id) or not event.remote_reset:",
        "if self._drop(event.stream_id) and event.remote_reset:",
        _EACH_FLOOD,
    ),
    _mutant(
        "requests that have begun may not be reset",
        _RECEIVER,
        "if self._drop(event.stream_id) or not event.remote_reset:",
        "if self._drop(event.stream_id) or event:",
        f"{_FLOODS}test_browsers_that_leave_together_are_no_flood",
    ),
    _mutant(
        "bytes of a request that is dropped stay in the window",
        _RECEIVER,
        "                self._give_back(event)\n",
        "                pass\n",
        f"{_FLOODS}test_body_of_a_request_that_is_reset_in_the_same_read_goes_nowhere",
    ),
    _mutant(
        "a read is handled in one turn",
        _RECEIVER,
        "            if self.connection.cost >= _COST_OF_TURN:\n",
        "            if self.connection.cost < 0:\n",
        f"{_FLOODS}test_others_have_their_turn_while_a_flood_is_handled",
    ),
    _mutant(
        "all applications start in one turn",
        _RECEIVER,
        "if started % _STARTS_PER_TURN == 0:",
        "if started < 0:",
        f"{_FLOODS}test_few_applications_start_in_a_turn",
    ),
    _mutant(
        "more streams than there may be are run",
        _RECEIVER,
        "        if self._is_full:\n",
        "        if number < 0:\n",
        f"{_FLOODS}test_more_streams_than_there_may_be_are_refused_and_counted",
    ),
    _mutant(
        "applications that clean up take no place",
        _RECEIVER,
        " or tasks >= _TASKS_PER_STREAM * limit",
        " or tasks < 0",
        f"{_REQUESTS}test_applications_that_clean_up_take_places",
    ),
    _mutant(
        "PING is free",
        _RECEIVER,
        "        self._budgets.pinged()\n",
        "        pass\n",
        _EACH_FLOOD,
    ),
    _mutant(
        "SETTINGS are free",
        _RECEIVER,
        "        self._budgets.settings_received()\n        if",
        "        if",
        _EACH_FLOOD,
    ),
    _mutant(
        "frames without a meaning are free",
        _RECEIVER,
        """\
its streams go on.\"""
        self._budgets.little_received()
""",
        """\
its streams go on.\"""
""",
        _EACH_FLOOD,
    ),
    _mutant(
        "DATA of one byte is free",
        _RECEIVER,
        "if size < _LITTLE and event",
        "if size < 1 and event",
        _EACH_FLOOD,
    ),
    _mutant(
        "short bodies are a flood",
        _RECEIVER,
        "return not is_late and self._little.pays(self._requests)",
        "return False",
        f"{_FLOODS}test_short_bodies_in_short_pieces_are_no_flood",
    ),
    _mutant(
        "window updates of a browser are free",
        _RECEIVER,
        """\
        self._budgets.window_updated(frames_sent=self.frames_sent)
        await""",
        """\
        await""",
        _EACH_FLOOD,
    ),
    _mutant(
        "window updates that our events ask for are a flood",
        _HTTP2,
        "            self.frames_sent += 1 + len(event.data) // _FRAME_SIZE\n",
        "            pass\n",
        f"{_FLOODS}test_two_window_updates_for_each_token_are_no_flood",
    ),
    _mutant(
        "what crosses our resets is a flood of a browser",
        _STATE,
        "        self.resets_sent += sum(",
        "        sum(",
        f"{_FLOODS}test_what_crosses_a_reset_of_ours_is_no_flood",
    ),
    _mutant(
        "a path that is not ASCII ends the connection",
        _RECEIVER,
        "elif not (method.isascii() and path.isascii()):",
        "elif not method:",
        f"{_REQUESTS}test_malformed_request_ends_its_own_stream",
    ),
    _mutant(
        "white space at the ends of a value is borne",
        _STATE,
        "    stream_class = Stream\n",
        "",
        f"{_REQUESTS}test_malformed_request_ends_its_own_stream",
    ),
    _mutant(
        "headers that are too large are no request",
        _STATE,
        "if stream.state_machine.headers_received:",
        "if stream:",
        f"{_REQUESTS}test_headers_that_are_too_large_are_answered",
    ),
    _mutant(
        "headers that are held have no bound",
        _RECEIVER,
        "        if size > holding.room:\n",
        "        if size < 0:\n",
        f"{_REQUESTS}test_headers_that_all_connections_hold_are_bounded",
    ),
    _mutant(
        "headers are never given back",
        _RECEIVER,
        "            holding.give_back_all()\n",
        "            pass\n",
        f"{_REQUESTS}test_headers_are_given_back_however_a_request_ends",
    ),
    _mutant(
        "the buffer of a stream that was reset stays",
        _HTTP2,
        "if not self.connection.is_over(stream_id):",
        "if self.connection:",
        f"{_REQUESTS}test_nothing_is_kept_of_thousands_of_streams_that_were_reset",
    ),
    _mutant(
        "a stream whose answer is over goes on",
        _HTTP2,
        "            await self._end_early(event.stream_id)\n",
        "            pass\n",
        f"{_REQUESTS}test_request_that_goes_on_after_its_answer_is_reset",
        f"{_REQUESTS}test_answer_that_fails_is_reset",
    ),
    _mutant(
        "a flood is told of nothing",
        _RECEIVER,
        "            self.connection.goaway(ErrorCodes.ENHANCE_YOUR_CALM, error.name)\n",
        "",
        _EACH_FLOOD,
    ),
    _mutant(
        "a flood's connection goes on",
        _TCP,
        "            await self._see_the_client_close()\n",
        '            return await self._read(b"")\n',
        _EACH_FLOOD,
    ),
    _mutant(
        "parts of a header block are free",
        f"{_TRANSPORT}_connection/http2.py",
        "[*events, *(FrameIgnored(part, is_late=False) for part in little)]",
        "events",
        _EACH_FLOOD,
    ),
    _mutant(
        "a header block has any number of headers",
        f"{_TRANSPORT}_fast/hpack_cache.py",
        "range(max(_MAX_READ, most // _OVERHEAD) + _MAX_SIZE_UPDATES)",
        "range(len(data))",
        f"{_REQUESTS}test_headers_that_only_an_attack_has_end_the_connection",
    ),
]
