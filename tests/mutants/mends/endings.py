"""Answers that are asked for by POST: the hold, whole answers, OpenAI's API, the list of models."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_WEB = "src/relay_gateway/web/"
_TESTS = "tests/gateway/"
_CHAT = f"{_TESTS}test_chat_completions.py::"
_CATALOGUE = f"{_TESTS}test_catalogue.py::"
_NATIVE = f"{_TESTS}test_conversation.py::"


def _mutant(name: str, file: str, right: str, wrong: str, test: str) -> Mutant:
    return Mutant(0, name, f"{_WEB}{file}", right=right, wrong=wrong, tests=(test,))


MUTANTS = [
    _mutant(
        "each caller waits for those before it",
        "catalogue.py",
        "with trio.move_on_after(_TIMEOUT) as scope:",
        "with trio.CancelScope(deadline=trio.current_time() + 9 * _TIMEOUT) as scope:",
        f"{_CATALOGUE}test_all_callers_of_a_service_that_hangs_are_told_in_time",
    ),
    _mutant(
        "each caller asks for the list itself",
        "catalogue.py",
        "            async with self._asking:",
        "            async with trio.Lock():",
        f"{_CATALOGUE}test_callers_of_a_service_that_is_slow_share_one_question",
    ),
    _mutant(
        "the list of models is asked for once",
        "catalogue.py",
        "if trio.current_time() - self._asked > _FRESH_SECONDS:",
        "if self._known is None:",
        f"{_CATALOGUE}test_a_list_is_trusted_for_ten_seconds",
    ),
    _mutant(
        "the default model is asked for by a name",
        "conversation.py",
        '"model": "" if self.model == DEFAULT_MODEL else self.model,',
        '"model": self.model,',
        f"{_CATALOGUE}test_the_default_model_has_no_name_in_the_contract",
    ),
    _mutant(
        "a service that cannot list its models is an old one",
        "catalogue.py",
        "if error.status is Status.UNIMPLEMENTED:",
        "if error.status is not Status.OK:",
        f"{_CATALOGUE}test_a_service_that_cannot_list_its_models_is_asked_again",
    ),
    _mutant(
        "an old service drops what it does not know",
        "catalogue.py",
        "if dropped is None or await self._fresh() is not None:",
        "if dropped or dropped is None:",
        f"{_CHAT}test_what_an_old_service_would_drop_is_refused",
    ),
    _mutant(
        "a minute for a whole answer",
        "http_connection.py",
        "await self._send_response(partial(_send_and_mark, send, relay), response)",
        "await self._send_whole(response, partial(_send_and_mark, send, relay))",
        f"{_CHAT}test_a_whole_answer_may_be_taken_slowly",
    ),
    _mutant(
        "a whole answer is delivered before it is written",
        "http_connection.py",
        '    if message["type"] == "http.response.body" and not message["more_body"]:',
        '    if message["type"] == "http.response.start":',
        f"{_CHAT}test_a_whole_answer_that_nobody_takes_is_not_done",
    ),
    _mutant(
        "a whole answer whose write failed is done",
        "http_connection.py",
        "        await trio.lowlevel.checkpoint()\n        relay.mark_delivered()",
        "        relay.mark_delivered()",
        "tests/cancellation/test_matrix.py::"
        "test_cell[chat, whole, last event: browser stops reading, HTTP/1.1]",
    ),
    _mutant(
        "the hold does not end",
        "answer.py",
        "with trio.move_on_after(self._hold):",
        "with trio.CancelScope():",
        f"{_CHAT}test_after_the_hold_a_failure_is_an_event",
    ),
    _mutant(
        "a failure within the hold is an event",
        "answer.py",
        "            return None if is_streamed else self._on_failure(failure)",
        "            return None if self._on_end is None else self._on_failure(failure)",
        f"{_NATIVE}test_a_failure_before_the_first_token_of_a_post_is_a_problem",
    ),
    _mutant(
        "the headers of a GET wait",
        "routes.py",
        'hold = self._hold if request.method == "POST" else 0.0',
        "hold = self._hold",
        f"{_NATIVE}test_headers_of_a_get_never_wait",
    ),
    _mutant(
        "what took too long is asked for again",
        "failure.py",
        'return {"x-should-retry": "false"}',
        "return {}",
        f"{_CHAT}test_an_answer_that_takes_too_long_is_not_to_be_asked_for_again",
    ),
    _mutant(
        "a service that says when to come back is asked too early",
        "failure.py",
        "_RETRY_AFTER if failure.retry_after is None else failure.retry_after",
        "_RETRY_AFTER",
        f"{_CHAT}test_the_model_service_says_what_is_wrong_and_when_to_come_back",
    ),
    _mutant(
        "a page of another origin cannot read a failure",
        "http_connection.py",
        "                    response.headers.extend(_cross_origin(headers))\n",
        "",
        f"{_CHAT}test_a_failure_before_the_first_token_is_a_status",
    ),
    _mutant(
        "a chat that was cut short ends with DONE",
        "openai/chunks.py",
        "return _event(failure_object(failure, status_of(failure)))",
        "return _event(failure_object(failure, status_of(failure))) + _DONE",
        f"{_CHAT}test_a_stream_that_breaks_ends_with_an_error_and_no_done",
    ),
    _mutant(
        "the role is in each chunk",
        "openai/chunks.py",
        "        role, self._role = self._role, {}\n        return self._delta",
        "        role = self._role\n        return self._delta",
        f"{_CHAT}test_a_stream",
    ),
    _mutant(
        "a whole answer has no bound",
        "openai/completion.py",
        "        if self._left < 0:",
        "        if self._left is None:",
        f"{_CHAT}test_an_answer_that_is_too_long_to_keep_is_an_error_and_stops_the_model",
    ),
    _mutant(
        "the calls of tools are mixed up",
        "openai/completion.py",
        "self._calls.setdefault(delta.index, ",
        "self._calls.setdefault(0, ",
        f"{_CHAT}test_the_pieces_of_a_whole_answer_are_joined",
    ),
]
