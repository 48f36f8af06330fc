"""Tests of proxy.core.settings.abort: the templates of a provider's abort call, and the request made of them."""

import pytest
from pydantic import ValidationError

from proxy.core.settings.abort import AbortSettings

IDS = {"upstream_id": 'a/../b?c#d%"\\', "task_id": "t:1"}


def test_ids_are_escaped() -> None:
    """In a path an id is one segment, in a body it is part of a string."""
    abort = AbortSettings(path="/r/{{upstream_id}}/{{ task_id }}?x=1", body='{"rid": "{{upstream_id}}", "n": 1}')
    assert abort.url("http://h/v1", IDS) == "http://h/v1/r/a%2F..%2Fb%3Fc%23d%25%22%5C/t%3A1?x=1"
    assert abort.content(IDS) == b'{"rid": "a/../b?c#d%\\"\\\\", "n": 1}'
    assert AbortSettings(path="/r").content(IDS) == b""


def test_a_whole_address() -> None:
    """A route elsewhere at the same host is written as its address; another host gets no credential."""
    abort = AbortSettings(path="http://127.0.0.1:30000/abort_request")
    assert abort.url("http://127.0.0.1:30000/v1", IDS) == "http://127.0.0.1:30000/abort_request"
    assert abort.fits("http://127.0.0.1:30000/v1")
    assert not abort.fits("http://127.0.0.1:30001/v1")
    assert not abort.fits("https://127.0.0.1:30000/v1")
    assert AbortSettings(path="https://h/x").fits("https://h:443/v1")
    assert AbortSettings(path="/x?to=http://other/").fits("https://h:443/v1")


def test_what_it_needs() -> None:
    """A call that names the upstream's id can't be made before that is known."""
    assert AbortSettings(path="/r/{{upstream_id}}").needs_upstream_id
    assert AbortSettings(path="/r", body='["{{upstream_id}}"]').needs_upstream_id
    assert not AbortSettings(path="/r/{{task_id}}").needs_upstream_id


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("path", "abort", "expected a path below base_url, such as /abort, or a whole address"),
        ("path", "/a b", "without blanks"),
        ("path", "/a#b", "without blanks"),
        ("path", "/a/../b", "without empty, . and .. segments"),
        ("path", "/a/%2e%2E/b", "without empty, . and .. segments"),
        ("path", "//other/x", "without empty, . and .. segments"),
        ("path", "http://me:secret@h/x", "put the credential into api_key"),
        ("path", "http://169.254.169.254/x", "link-local"),
        ("path", "/{{upstream}}", "{{upstream}} is not known here"),
        ("path", "/{{upstream_id", "each closed by }}"),
        ("body", "{rid: {{upstream_id}}}", "expected JSON with its variables inside of strings"),
        ("body", '{"rid": {{upstream_id}}}', "expected JSON with its variables inside of strings"),
        ("body", '{"rid": "{{id}}"}', "{{id}} is not known here"),
        ("method", "GET", "Input should be 'POST', 'DELETE' or 'PUT'"),
    ],
)
def test_what_is_refused(field: str, value: str, message: str) -> None:
    """A template that could make no call, or another one than is meant, is an error with what to do."""
    with pytest.raises(ValidationError) as caught:
        AbortSettings(**{"path": "/x", field: value})
    assert message in str(caught.value)
