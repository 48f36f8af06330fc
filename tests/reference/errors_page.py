"""The page of the error codes: read from the source, each with what to do about it."""

from itertools import groupby
from typing import Final

from proxy.cli.admin_client import Exit
from proxy.core.errors import Refusal, Source, UpstreamErrorKind
from proxy.dialects.aitronos import errors as aitronos
from proxy.dialects.dify import errors as dify
from reference.advice import ADVICE, COMPUTED
from reference.refusals import Found, literals, refusals

MOST: Final = 4
"""So many messages of one code are shown."""
_HEAD: Final = """\
# Errors

Every code that Quell answers with by itself, and what to do about it. On a route of dialect `openai` it stands in
`error.code`:

```json
{"error": {"message": "…", "type": "invalid_request_error", "code": "task_id_in_use", "param": "X-Task-Id"}}
```

Other dialects say the same in their own shape; where they have another word, it is in the last columns. An error of the
provider is passed on as it is where the API is passed through, and is none of these. What stands in braces is put in
when it happens.
"""


def errors_page() -> str:
    """The page.

    Raises:
        ValueError: a code of the source has no advice here, or an advice is about no code.
    """
    found = [*refusals(), *_of_upstreams()]
    by_code = {code: list(each) for code, each in groupby(sorted(found), key=lambda one: one.code)}
    known: set[str] = set(by_code) | COMPUTED
    if lost := known ^ set(ADVICE):
        raise ValueError(f"codes without advice, or advice without a code: {sorted(lost)}")
    if gone := COMPUTED - literals():
        raise ValueError(f"codes that stand nowhere in the source: {sorted(gone)}")
    rows = [_row(code, by_code.get(code, [])) for code in sorted(known)]
    exits = [f"| {each.value} | {each.name.lower().replace('_', ' ')} |" for each in Exit]
    return "\n".join(
        [
            _HEAD,
            "| code | status | says | what to do | Dify | Aitronos |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "## Exit codes of the commands",
            "",
            "| code | meaning |",
            "|---|---|",
            *exits,
            "",
        ]
    )


def _of_upstreams() -> list[Found]:
    """What is said of each way in which an upstream fails."""
    made = ((kind, Refusal.upstream(kind)) for kind in UpstreamErrorKind)
    return [Found(each.code, each.status, each.message, "core.errors") for _, each in made]


def _row(code: str, found: list[Found]) -> str:
    statuses = sorted({each.status for each in found})
    says = list(dict.fromkeys(each.says for each in found if each.says))
    more = f" and {len(says) - MOST} more" if len(says) > MOST else ""
    words = " · ".join(" ".join(each.split()).replace("|", "\\|") for each in says[:MOST]) + more
    shown = ", ".join(map(str, statuses)) or "as the upstream's"
    cells = (f"`{code}`", shown, words, ADVICE[code], _word(code, found, dify), _word(code, found, aitronos))
    return f"| {' | '.join(cells)} |"


def _word(code: str, found: list[Found], dialect: object) -> str:
    """The dialect's own word for a code that can come on its routes; empty where it is the same."""
    if not found or all(each.where.startswith(("edge.admin", "edge.told", "dialects.")) for each in found):
        return ""
    source = Source.UPSTREAM if code.startswith("upstream_") else Source.DOWNSTREAM
    refusal = Refusal(found[0].status, code, "", source=source)
    status, word = dialect.code_of(refusal)  # type: ignore[attr-defined] # one of two modules with this function
    return "" if word == code else f"{status} `{word}`"
