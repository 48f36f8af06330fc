"""The dialect `dify`: which request is what, how create requests are read, and what goes upstream."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.conversation import Message, MessageStatus
from proxy.core.errors import Refusal
from proxy.core.settings.settings import RouteSettings
from proxy.dialects.dify.app import Dify
from proxy.dialects.dify.fields import limit_of, uuid_of
from proxy.dialects.dify.generate import name_of
from proxy.dialects.dify.request import Asked, read_request
from proxy.dialects.dify.turn import PAST_CHARACTERS, Turn, chat_messages, check_required

DIALECT = Dify()
IMAGE = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}


def route(**more: Any) -> RouteSettings:
    """A route of this dialect."""
    return RouteSettings(path="/v1", dialect="dify", upstream="up", **more)


TRANSLATOR = route(
    system="You translate to {{ language }}.",
    prompt="Translate: {{query}}",
    inputs={"language": {"required": True}, "query": {}, "loud": {}},
)


def read(of: RouteSettings | None = None, **fields: Any) -> Asked:
    """A create request with these fields changed."""
    return read_request({"inputs": {}, "query": "Hi", "user": "ann"} | fields, of or route())


def at_fault(of: RouteSettings | None = None, **fields: Any) -> tuple[str | None, str]:
    """The parameter and the words of a refused create request."""
    with pytest.raises(Refusal) as refused:
        read(of, **fields)
    assert (refused.value.status, refused.value.code) == (400, "invalid_param")
    return refused.value.param, refused.value.message


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("POST", "/completion-messages"),
        ("POST", "/chat-messages"),
        ("POST", "/workflows/run"),
        ("POST", "/completion-messages/t-1/stop"),
        ("POST", "/chat-messages/t-1/stop"),
        ("POST", "/workflows/tasks/t-1/stop"),
        ("POST", "/messages/m-1/feedbacks"),
        ("POST", "/conversations/c-1/name"),
        ("DELETE", "/conversations/c-1"),
        ("GET", "/conversations"),
        ("GET", "/messages"),
        ("GET", "/info"),
        ("GET", "/parameters"),
        ("GET", "/meta"),
        ("GET", "/site"),
    ],
)
def test_endpoints(method: str, rest: str) -> None:
    """Each path of the API is served by its own method, and refused by every other one, which is told."""
    assert callable(DIALECT.endpoint(method, rest))
    for other in {"GET", "POST", "PUT", "DELETE", "HEAD"} - {method}:
        with pytest.raises(Refusal) as refused:
            DIALECT.endpoint(other, rest)
        assert (refused.value.status, refused.value.headers) == (405, {"Allow": method})


@pytest.mark.parametrize(
    "rest",
    ["", "/", "/chat/completions", "/completion-messages/a/b/stop", "/workflows/run/r-1", "/files/upload", "/Info"],
)
def test_other_paths_are_not_its_own(rest: str) -> None:
    """What is no path of this API may be another dialect's."""
    assert DIALECT.endpoint("POST", rest) is None


def test_smallest_request() -> None:
    """Only inputs and user must be there; without a mode the answer is blocking, and null files are no files."""
    asked = read_request({"inputs": {}, "user": "ann", "files": None, "unknown": [1]}, route())
    assert asked == Asked("ann", Turn(), streams=False)
    assert read(response_mode="streaming").streams
    assert not read(response_mode=None).streams


@pytest.mark.parametrize("user", [None, ""])
def test_missing_user(user: Any) -> None:
    """A user that is missing or empty is refused in Dify's own words."""
    assert at_fault(user=user) == ("user", "Arg user must be provided.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", 7),
        ("user", "a" * 513),
        ("user", "a\nb"),
        ("user", "\ud800"),
        ("inputs", None),
        ("inputs", []),
        ("inputs", "x"),
        ("response_mode", "both"),
        ("response_mode", True),
        ("response_mode", []),
        ("query", 1),
        ("files", {}),
        ("files", "x"),
        ("files", [IMAGE] * 11),
    ],
)
def test_fields_of_a_wrong_type_are_named(field: str, value: Any) -> None:
    """A field that is not what it must be is refused by its name."""
    param, message = at_fault(**{field: value})
    assert param == field
    assert field in message


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ("x", "files[1]"),
        ({**IMAGE, "type": "picture"}, "files[1].type"),
        ({**IMAGE, "type": "document"}, "files[1].type"),
        ({**IMAGE, "type": []}, "files[1].type"),
        ({**IMAGE, "transfer_method": "mail"}, "files[1].transfer_method"),
        ({**IMAGE, "upload_file_id": "f-1"}, "files[1]"),
        ({**IMAGE, "url": None}, "files[1].url"),
        ({**IMAGE, "url": "ftp://example.com/a"}, "files[1].url"),
        ({**IMAGE, "url": "https://"}, "files[1].url"),
        ({**IMAGE, "url": "https://[x/"}, "files[1].url"),
        ({**IMAGE, "url": "https://a b"}, "files[1].url"),
        ({**IMAGE, "url": "https://h/" + "a" * 9000}, "files[1].url"),
    ],
)
def test_files_that_cannot_be_served_are_named(item: Any, param: str) -> None:
    """An item of the files that is no image by address is refused with its place and field."""
    assert at_fault(files=[IMAGE, item])[0] == param


def test_local_file_is_refused_by_name() -> None:
    """An uploaded file is refused, and the message says what of it."""
    param, message = at_fault(files=[{"type": "image", "transfer_method": "local_file", "upload_file_id": "f-1"}])
    assert param == "files[0].transfer_method"
    assert "local_file" in message


def test_images_become_parts_of_the_message() -> None:
    """Images go upstream as image parts behind the text of the user's turn."""
    (message,) = chat_messages(read(files=[IMAGE, IMAGE]).turn, route())
    part = {"type": "image_url", "image_url": {"url": IMAGE["url"]}}
    assert message == {"role": "user", "content": [{"type": "text", "text": "Hi"}, part, part]}


def test_templates_are_filled() -> None:
    """System message and user's turn come from the route's templates; what they don't name is ignored."""
    turn = read(TRANSLATOR, inputs={"language": "French {{query}}", "other": [1], "loud": None}).turn
    check_required(turn, TRANSLATOR)
    assert chat_messages(turn, TRANSLATOR) == [
        {"role": "system", "content": "You translate to French {{query}}."},
        {"role": "user", "content": "Translate: Hi"},
    ]
    assert turn.inputs == {"language": "French {{query}}"}


def test_query_may_stand_in_the_inputs() -> None:
    """A completion app's query may be one of its inputs; one beside them goes before it."""
    inside = {"query": "Inside"}
    assert chat_messages(read(query=None, inputs=inside).turn, route())[0]["content"] == "Inside"
    assert chat_messages(read(query="Beside", inputs=inside).turn, route())[0]["content"] == "Beside"


def test_numbers_and_booleans_are_values() -> None:
    """A number or a boolean is filled in as text."""
    of = route(prompt="{{n}} {{x}} {{yes}}")
    turn = read(of, inputs={"n": 3, "x": 1.5, "yes": True}).turn
    assert chat_messages(turn, of)[-1]["content"] == "3 1.5 true"


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_values_that_are_no_text_are_named(value: Any) -> None:
    """A variable of the route that can't stand in a text is refused by its name."""
    assert at_fault(TRANSLATOR, inputs={"language": value})[0] == "language"


@pytest.mark.parametrize("inputs", [{}, {"language": None}, {"language": ""}])
def test_required_variables(inputs: dict[str, Any]) -> None:
    """A required variable that is missing, null or empty is refused by its name."""
    with pytest.raises(Refusal) as refused:
        check_required(read(TRANSLATOR, inputs=inputs).turn, TRANSLATOR)
    assert (refused.value.code, refused.value.param) == ("invalid_param", "language")
    assert "language" in refused.value.message


def test_required_query() -> None:
    """The query beside the inputs counts where the route requires the variable."""
    of = route(inputs={"query": {"required": True}})
    check_required(read(of).turn, of)
    with pytest.raises(Refusal):
        check_required(read(of, query=None).turn, of)


def test_lone_surrogates_do_not_get_in() -> None:
    """Half a character is replaced, so that what is stored can be written."""
    turn = read(TRANSLATOR, query="a\ud800", inputs={"language": "b\udc00"}).turn
    assert (turn.query, turn.inputs) == ("a\ufffd", {"language": "b\ufffd"})


def a_message(query: str, answer: str, status: MessageStatus = MessageStatus.COMPLETED) -> Message:
    """A stored message."""
    content = Turn(query).content()
    return Message("m", "i", "dify", "assistant", 1.0, status, text=answer, content=content)


def test_past_turns_go_upstream_in_order() -> None:
    """The past is told from the oldest turn on, between the system message and the new turn."""
    past = [a_message("Second", "B", MessageStatus.CANCELLED), a_message("First", "A")]
    found = chat_messages(Turn("Third"), route(system="Be brief."), past)
    assert [(each["role"], each["content"]) for each in found] == [
        ("system", "Be brief."),
        ("user", "First"),
        ("assistant", "A"),
        ("user", "Second"),
        ("assistant", "B"),
        ("user", "Third"),
    ]


@pytest.mark.parametrize(
    "message",
    [
        a_message("Q", "half", MessageStatus.FAILED),
        a_message("Q", "half", MessageStatus.IN_PROGRESS),
        a_message("Q", "", MessageStatus.CANCELLED),
    ],
)
def test_answers_that_are_none_are_left_out(message: Message) -> None:
    """What failed, still runs or came to nothing is no part of the past."""
    assert len(chat_messages(Turn("Next"), route(), [message])) == 1


def test_a_long_past_is_cut_at_its_oldest_end() -> None:
    """Only as much of the past goes upstream as there is room for, in whole turns, the newest first."""
    half = "x" * (PAST_CHARACTERS // 2)
    past = [a_message("3", half), a_message("2", half[2:]), a_message("1", "short")]
    found = [each["content"] for each in chat_messages(Turn("4"), route(), past)]
    assert found == ["2", half[2:], "3", half, "4"]


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_blank_ids_are_none(blank: str | None) -> None:
    """A blank id is like an absent one."""
    assert uuid_of({"conversation_id": blank}, "conversation_id") is None


@pytest.mark.parametrize("wrong", ["x", 7, [], "123", "0" * 31])
def test_ids_must_be_uuids(wrong: Any) -> None:
    """What is no UUID is refused by its field's name."""
    with pytest.raises(Refusal) as refused:
        uuid_of({"conversation_id": wrong}, "conversation_id")
    assert (refused.value.status, refused.value.param) == (400, "conversation_id")


@pytest.mark.parametrize("wrong", ["0", "101", "-1", "x", "1.5", "9" * 30])
def test_limits_of_pages(wrong: str) -> None:
    """A page has 1 to 100 objects, 20 by default."""
    assert limit_of({}) == limit_of({"limit": ""}) == 20
    assert (limit_of({"limit": "1"}), limit_of({"limit": "100"})) == (1, 100)
    with pytest.raises(Refusal) as refused:
        limit_of({"limit": wrong})
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_param", "limit")


def test_names_of_conversations() -> None:
    """A name is the query on one line, cut where it is long."""
    assert name_of("  What \n is  rain? ") == "What is rain?"
    assert name_of("x" * 76) == "x" * 74 + "…"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FILES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("type", "transfer_method", "url"), ANYTHING | st.sampled_from([*IMAGE.values()]))
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "user": st.just("ann") | ANYTHING,
    "inputs": st.dictionaries(st.sampled_from(["language", "query", "loud"]), ANYTHING) | ANYTHING,
    "query": st.text() | ANYTHING,
    "response_mode": st.sampled_from(["streaming", "blocking"]) | ANYTHING,
    "files": st.lists(FILES, max_size=3) | ANYTHING,
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_body_is_read_or_refused(found: dict[str, Any]) -> None:
    """Whatever stands in a body: it becomes messages that can be sent, or it is refused with Dify's 400."""
    try:
        turn = read_request(found, TRANSLATOR).turn
        check_required(turn, TRANSLATOR)
        outcome: Any = [each["role"] for each in chat_messages(turn, TRANSLATOR)]
    except Refusal as refusal:
        outcome = refusal.status, refusal.code
    assert outcome in (["system", "user"], (400, "invalid_param"))
