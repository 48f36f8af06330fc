import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.routing import RouteTable
from proxy.core.settings.settings import RouteSettings


def routes(*paths: str) -> list[RouteSettings]:
    """Routes that differ in their paths only."""
    return [RouteSettings.model_validate({"path": path, "dialect": "openai", "upstream": "u"}) for path in paths]


@pytest.mark.parametrize(
    ("path", "route", "rest"),
    [
        ("/v1", "/v1", ""),
        ("/v1/", "/v1", "/"),
        ("/v1/chat/completions", "/v1", "/chat/completions"),
        ("/v1/deep", "/v1/deep", ""),
        ("/v1/deep/er/x", "/v1/deep/er", "/x"),
        ("/v1/deeper", "/v1", "/deeper"),
        ("/v1/deep/erx", "/v1/deep", "/erx"),
    ],
)
def test_the_longest_path_wins_segment_by_segment(path: str, route: str, rest: str) -> None:
    """A route takes its path and what is below it, unless a longer route does."""
    match = RouteTable(routes("/v1", "/v1/deep/er", "/v1/deep")).match(path)
    assert match is not None
    assert (match.route.path, match.rest) == (route, rest)


@pytest.mark.parametrize("path", ["/", "/v1x", "/V1", "/x/v1", "/v"])
def test_what_only_looks_alike_is_not_taken(path: str) -> None:
    """Half a segment, another case, or the path further back is no match."""
    assert RouteTable(routes("/v1")).match(path) is None


def test_the_root_takes_what_nobody_else_takes() -> None:
    """A route at / is the last resort, with the whole path as rest."""
    table = RouteTable(routes("/v1", "/"))
    match = table.match("/x/y")
    assert match is not None
    assert (match.route.path, match.rest) == ("/", "/x/y")
    taken = table.match("/v1/x")
    assert taken is not None
    assert taken.route.path == "/v1"


def test_no_routes_take_nothing() -> None:
    """An empty table matches no path."""
    assert RouteTable([]).match("/v1") is None


segments = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=5)


@given(st.lists(segments, max_size=6), segments)
def test_the_table_agrees_with_the_rule_read_literally(paths: list[list[str]], asked: list[str]) -> None:
    """For any routes and any path, the answer is the longest route that is the path or stands before a slash of it."""
    known = routes(*dict.fromkeys("/" + "/".join(filter(None, path)) for path in paths))
    path = "/" + "/".join(asked)
    taking = [r for r in known if r.path in {"/", path} or path.startswith(r.path + "/")]
    expected = max(taking, key=lambda r: len(r.path), default=None)
    match = RouteTable(known).match(path)
    assert (match.route if match else None) == expected
