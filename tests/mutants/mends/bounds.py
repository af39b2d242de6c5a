"""What a peer can cost: work, the event loop's time, and memory."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/src/grpclib_anyio/"
_BUDGETS = f"{_TRANSPORT}_connection/budgets.py"
_CONNECTION = f"{_TRANSPORT}_connection/connection.py"
_HTTP2 = f"{_TRANSPORT}_connection/http2.py"
_RECEIVER = f"{_TRANSPORT}_connection/receiver.py"
_SENDER = f"{_TRANSPORT}_connection/sender.py"
_SERVER_CALL = f"{_TRANSPORT}_call/server.py"
_BUFFERS = f"{_TRANSPORT}_stream/buffers.py"
_COUNTED = f"{_TRANSPORT}_stream/counted_stream.py"
_BUDGET = f"{_TRANSPORT}_base/memory_budget.py"
_DECODER = f"{_TRANSPORT}_fast/hpack_cache.py"

_CODEC = f"{_TRANSPORT}betterproto/bounded_codec.py"

_TESTS = "packages/grpclib-anyio/tests/"
_FLOODS = f"{_TESTS}test_flood_limits.py::"
_MEMORY = f"{_TESTS}test_memory_budget.py::"
_BOUNDS = f"{_TESTS}test_bounds.py::"
_COMPRESSION = f"{_TESTS}test_compression.py::"
_SERVING = "tests/model/test_serving.py::"

MUTANTS = [
    Mutant(
        0,
        "window updates are free",
        _BUDGETS,
        right="if not self._window_updates.allow_for(frames_sent, self._clock()):",
        wrong="if frames_sent < 0:",
        tests=(f"{_FLOODS}test_flood_from_a_client",),
    ),
    Mutant(
        0,
        "window updates that our frames ask for are a flood",
        _SENDER,
        right="        self.frames_sent += 1\n        self._pinger",
        wrong="        self._pinger",
        tests=(f"{_FLOODS}test_ten_window_updates_for_each_frame_are_no_flood",),
    ),
    Mutant(
        0,
        "frames that h2 makes no event of are free",
        _HTTP2,
        right="if events and type(frame) is not PriorityFrame:",
        wrong="if events is not None:",
        tests=(f"{_FLOODS}test_flood_from_a_client",),
    ),
    Mutant(
        0,
        "each small piece of a message is a flood",
        _BUFFERS,
        right="return was_crumb and self._is_crumb",
        wrong="return self._is_crumb",
        tests=(f"{_FLOODS}test_pieces_that_are_no_flood",),
    ),
    Mutant(
        0,
        "bytes of messages one by one are free",
        _RECEIVER,
        right="and stream.data_received(data, 0)",
        wrong="and not stream.data_received(data, 0) and not data",
        tests=(f"{_FLOODS}test_flood_from_a_client",),
    ),
    Mutant(
        0,
        "a header block that does not end has no bound",
        _HTTP2,
        right="if parts and sum([len(part.data) for part in parts]) > self.max_block_size:",
        wrong="if not parts and self.max_block_size < 0:",
        tests=(f"{_FLOODS}test_a_block_that_does_not_end_takes_bounded_memory",),
    ),
    Mutant(
        0,
        "a read is handled in one turn of the event loop",
        _CONNECTION,
        right="                    await checkpoint()\n",
        wrong="                    pass\n",
        tests=(f"{_FLOODS}test_other_tasks_run_while_a_flood_is_handled",),
    ),
    Mutant(
        0,
        "headers cost as much as any frame",
        _HTTP2,
        right="self.cost += _HEADERS_COST + len(frame.data) // _BYTES_PER_UNIT",
        wrong="self.cost += 1",
        tests=(f"{_FLOODS}test_headers_count_for_more_than_other_frames",),
    ),
    Mutant(
        0,
        "all streams try again for each byte of the connection's window",
        _SENDER,
        right="""\
            if starved and self._h2.outbound_flow_control_window > 0:
                stream, _ = starved.popitem(last=False)
""",
        wrong="""\
            if starved and self._h2.outbound_flow_control_window > 0:
                queue.update(starved)
                starved.clear()
                stream, _ = queue.popitem(last=False)
""",
        tests=(f"{_FLOODS}test_a_window_update_costs_the_same_however_many_streams_wait",),
    ),
    Mutant(
        0,
        "a stream without data waits for the connection's window",
        _SENDER,
        right="            elif queue:\n",
        wrong="            elif queue and not starved:\n",
        tests=(f"{_FLOODS}test_a_stream_ends_while_the_connections_window_is_shut",),
    ),
    Mutant(
        0,
        "what is queued counts before the writer has had its turn",
        _CONNECTION,
        right="                    await self._let_writer_catch_up()\n",
        wrong='                    self._lose("The peer does not read")\n',
        tests=(
            f"{_FLOODS}test_many_answers_at_once_are_no_peer_that_does_not_read",
            f"{_FLOODS}test_a_burst_that_has_to_be_answered_is_no_peer_that_does_not_read",
        ),
    ),
    Mutant(
        0,
        "a peer that does not read is waited for without end",
        _CONNECTION,
        right="with anyio.move_on_after(self._config.close_timeout):",
        wrong="with anyio.move_on_after(None):",
        tests=(f"{_FLOODS}test_a_peer_that_does_not_read_is_given_up",),
    ),
    Mutant(
        0,
        "a caller that is refused for its metadata keeps its turn",
        _CONNECTION,
        right="            self.streams.limit.admit()  # the turn",
        wrong="            # the turn",
        tests=(f"{_BOUNDS}test_request_that_is_not_sent_leaves_its_turn_to_the_next",),
    ),
    Mutant(
        0,
        "metadata that is too large replaces a cancellation",
        _SERVER_CALL,
        right="            with suppress(GRPCError):  # too large",
        wrong="            with suppress(LookupError):  # too large",
        tests=(f"{_BOUNDS}test_deadline_of_a_call_with_metadata_that_the_client_does_not_take",),
    ),
    Mutant(
        0,
        "a message is inflated whatever the server holds",
        _COUNTED,
        right="return super()._inflate(message, min(room, max_size))",
        wrong="return super()._inflate(message, max_size)",
        tests=(f"{_MEMORY}test_messages_that_inflate_together_to_more_than_is_allowed",),
    ),
    Mutant(
        0,
        "a message that was received counts no more",
        _COUNTED,
        right="        self._holding.add(size - self._received_size)\n",
        wrong="",
        tests=(f"{_MEMORY}test_messages_that_inflate_together_to_more_than_is_allowed",),
    ),
    Mutant(
        0,
        "a message that was received counts until the end of its call",
        _COUNTED,
        right="        self._holding.add(size - self._received_size)\n",
        wrong="        self._holding.add(size)\n",
        tests=(f"{_MEMORY}test_a_message_is_held_until_the_next_one_is_received",),
    ),
    Mutant(
        0,
        "messages that nobody has received do not count",
        _COUNTED,
        right="if self._refusal is None and len(data) > self._holding.room:",
        wrong="if self._refusal is None and len(data) < 0:",
        tests=(f"{_MEMORY}test_a_message_that_comes_in_parts",),
    ),
    Mutant(
        0,
        "small messages count as their bytes",
        _COUNTED,
        right="_MESSAGE_OVERHEAD, _HEADER_OVERHEAD = 64, 168",
        wrong="_MESSAGE_OVERHEAD, _HEADER_OVERHEAD = 0, 168",
        tests=(f"{_MEMORY}test_small_messages_count_as_objects",),
    ),
    Mutant(
        0,
        "headers do not count",
        _RECEIVER,
        right="        elif not self._streams.has_room_for(headers):\n",
        wrong="        elif not headers:\n",
        tests=(f"{_MEMORY}test_headers_count",),
    ),
    Mutant(
        0,
        "a call that is over gives nothing back",
        _COUNTED,
        right="        self._holding.give_back_all()\n",
        wrong="",
        tests=(f"{_MEMORY}test_every_end_of_a_call_gives_back",),
    ),
    Mutant(
        0,
        "one connection may hold all",
        _BUDGET,
        right="_LARGEST_SHARE = 2",
        wrong="_LARGEST_SHARE = 1",
        tests=(f"{_MEMORY}test_a_connection_may_hold_half",),
    ),
    Mutant(
        0,
        "a full server serves nobody",
        _BUDGET,
        right="return max(0, shared, _GUARANTEED - self._used)",
        wrong="return max(0, shared)",
        tests=(f"{_MEMORY}test_each_connection_has_a_little_in_any_case",),
    ),
    Mutant(
        0,
        "a server that accepts no compression reads it",
        _SERVER_CALL,
        right="        if not is_accepted(encoding, self._services.accept_encoding):\n",
        wrong='        if encoding not in {"identity", "gzip"}:\n',
        tests=(f"{_COMPRESSION}test_a_server_that_accepts_no_compression_says_what_it_accepts",),
    ),
    Mutant(
        0,
        "a header that is hidden by another lets messages be inflated",
        f"{_TRANSPORT}_stream/stream.py",
        right="if ENCODING in headers and self._accepts_compression:",
        wrong="if ENCODING in headers:",
        tests=(f"{_COMPRESSION}test_a_message_that_says_it_is_compressed_is_not_inflated_there",),
    ),
    Mutant(
        0,
        "a prompt of any size is answered",
        "src/relay_model/service.py",
        right="            check_size(conversation, self._max_prompt_bytes)\n",
        wrong="",
        tests=(f"{_SERVING}test_a_prompt_that_is_too_large_is_refused_with_both_numbers",),
    ),
    Mutant(
        0,
        "a prompt is measured in characters",
        "src/relay_model/conversation.py",
        right="len(v) if isinstance(v, bytes) or v.isascii() else len(v.encode())",
        wrong="len(v)",
        tests=(f"{_SERVING}test_a_prompt_that_is_too_large_is_refused_with_both_numbers",),
    ),
    Mutant(
        0,
        "the items of messages within messages do not count",
        _CODEC,
        right="if decoder.is_appended or is_message:",
        wrong="if is_message and not decoder.is_appended:",
        tests=(f"{_TESTS}test_codec.py::test_a_message_of_more_items_than_allowed_is_refused",),
    ),
    Mutant(
        0,
        "the items of all messages are added up",
        _CODEC,
        right="        self._items = 0\n        return super()",
        wrong="        return super()",
        tests=(f"{_TESTS}test_codec.py::test_a_message_of_more_items_than_allowed_is_refused",),
    ),
    Mutant(
        0,
        "blocks of a thousand headers are remembered",
        _DECODER,
        right="if is_indexed and len(data) <= _MAX_KNOWN_SIZE:",
        wrong="if is_indexed:",
        tests=(f"{_MEMORY}test_blocks_of_many_headers_are_not_remembered",),
    ),
    Mutant(
        0,
        "trailers that were queued go by the limit of that time",
        _SENDER,
        right="        if self.headers_room(trailers) < 0:\n            trailers = [",
        wrong="        if not trailers:\n            trailers = [",
        tests=(
            f"{_TESTS}test_peer_limits.py::test_a_list_limit_that_is_lowered_while_trailers_wait",
        ),
    ),
    Mutant(
        0,
        "an empty frame is sent on a window below zero",
        _SENDER,
        right="if size < 0 or (outbox and not size):",
        wrong="if outbox and not size:",
        tests=(
            f"{_TESTS}test_peer_limits.py::test_a_window_that_shrinks_below_what_has_been_sent",
        ),
    ),
    Mutant(
        0,
        "callers that wait are not told of the peer's new limit",
        _RECEIVER,
        right="        self._streams.limit.admit()\n",
        wrong="",
        tests=(f"{_TESTS}test_peer_limits.py::test_fewer_streams_than_are_open",),
    ),
    Mutant(
        0,
        "a TLS handshake takes as long as the client likes",
        f"{_TRANSPORT}server.py",
        right="            with anyio.fail_after(self._config.connect_timeout):\n",
        wrong="            with anyio.fail_after(None):\n",
        tests=(f"{_TESTS}test_silent_peers.py::test_a_tls_handshake_that_stalls_is_given_up",),
    ),
    Mutant(
        0,
        "a call that was reset before its turn is run",
        _SERVER_CALL,
        right="            if stream.error is None:\n                await _Call(",
        wrong="            if True:\n                await _Call(",
        tests=(f"{_FLOODS}test_a_call_that_is_reset_before_its_turn_is_not_run",),
    ),
]
