"""The demo's guard, and a header that goes on to the model: what others could do without."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_ACCESS = "src/relay_gateway/web/access.py"
_TEST = "tests/gateway/test_access.py::"

MUTANTS = [
    Mutant(
        0,
        "the demo serves everybody",
        "src/relay_demo/__main__.py",
        right="stop=stop, access=access)",
        wrong="stop=stop)",
        tests=("tests/demo/test_demo.py::test_another_site_is_refused",),
    ),
    Mutant(
        0,
        "a name that begins like this machine's is its own",
        _ACCESS,
        right="name == _LOOPBACK_NAME or",
        wrong="name.startswith(_LOOPBACK_NAME) or",
        tests=(f"{_TEST}test_a_foreign_host_is_not_served",),
    ),
    Mutant(
        0,
        "a request without an origin comes from nowhere",
        _ACCESS,
        right="            if _is_cross_site(request):",
        wrong="            if not _is_cross_site:",
        tests=(f"{_TEST}test_what_another_site_loads_without_an_origin_is_refused",),
    ),
    Mutant(
        0,
        "a link may ask the model",
        _ACCESS,
        right="request.path in _PAGES and ",
        wrong="",
        tests=(f"{_TEST}test_what_another_site_loads_without_an_origin_is_refused",),
    ),
    Mutant(
        0,
        "no link leads to the page",
        _ACCESS,
        right=" and not is_link",
        wrong="",
        tests=(f"{_TEST}test_a_link_to_a_page_works_from_everywhere",),
    ),
    Mutant(
        0,
        "its own origin on another port is its own",
        _ACCESS,
        right="authority.lower() == host.lower()",
        wrong="_hostname(authority) == _hostname(host)",
        tests=(f"{_TEST}test_a_page_of_another_origin_asks_for_nothing",),
    ),
    Mutant(
        0,
        "a trace may have what no header can carry",
        "src/relay_common/trace.py",
        right="(?P<more>-[!-~]*)?",
        wrong="(?P<more>-.*)?",
        tests=(
            "tests/common/test_trace.py::test_what_is_malformed_is_none",
            "tests/gateway/test_app.py::test_a_trace_is_passed_on_to_the_model",
        ),
    ),
]
