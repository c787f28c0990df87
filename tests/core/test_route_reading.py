"""Routes: one reading of a target says what two readings say, remembered or not."""

from hypothesis import given
from hypothesis import strategies as st

from authz.core.reason import Denied
from authz.core.request import Operation, Request
from authz.core.routes import ROUTE, Route, Routes, RouteSettings

ROUTES = Routes(
    (
        RouteSettings(name="a", hosts=("h",), paths=("/a/**",), accept_ambiguous=("parameters",)),
        RouteSettings(name="b", paths=("/a/{id}", "/b/c")),
    )
)
METHODS = st.sampled_from(("GET", "PROPFIND", "get", "", "G" * 40))
HOSTS = st.sampled_from(("h", "H:80", "other", "..", "é", "h" * 400))
PATHS = st.lists(
    st.sampled_from(("a", "b", "c", "x;y", "", "..", "%2F", "%25", "%", "z" * 300)), max_size=4
).map(lambda parts: "/" + "/".join(parts))
CONTEXTS = st.sampled_from(((), ((ROUTE, "a"),), ((ROUTE, "b"),), ((ROUTE, "unknown"),)))


def in_two_readings(request: Request) -> tuple[Operation, Route] | tuple[object, str]:
    """Return the operation and the route, or the refusal, each by its own reading."""
    try:
        operation = Operation.of(request)
        return operation, ROUTES.of(request, operation)
    except Denied as denied:
        return denied.reason, denied.detail


def in_one_reading(request: Request) -> tuple[Operation, Route] | tuple[object, str]:
    """Return the same of ``read``."""
    try:
        return ROUTES.read(request)
    except Denied as denied:
        return denied.reason, denied.detail


@given(METHODS, HOSTS, PATHS, CONTEXTS)
def test_one_reading_is_as_two(
    method: str, host: str, path: str, context: tuple[tuple[str, str], ...]
) -> None:
    """The operation, the route and each refusal are the same, also when the target comes again."""
    request = Request(method, host, path, context=context)
    expected = in_two_readings(request)
    assert in_one_reading(request) == expected
    name = request.context_value(ROUTE)
    assert isinstance(ROUTES.of_raw(name, host, path), Route)
    assert in_one_reading(request) == expected
