"""The settings of a route. The file's `dialect`, a word or a list, is always a tuple here: `dialects`."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema, model_validator

from proxy.core.lifecycle import OnDisconnect
from proxy.core.settings.scalar_types import Duration, DurationOrZero, Name, Section, misplaced, one_or_more
from proxy.core.settings.urls import Origin, RoutePath

DialectName = Literal["openai", "assistants", "dify", "async_messages", "aitronos", "anthropic"]
DIALECT_NAMES: tuple[DialectName, ...] = ("openai", "assistants", "dify", "async_messages", "aitronos", "anthropic")

EMULATION = "responses"
"""The name of what serves an `openai` route's Responses API with `responses: emulate`; no word for `dialect`."""

GEMINI = "gemini"
"""The name of what serves an `openai` route whose upstream has this format; no word for `dialect`."""

_word = {"type": "string", "enum": list(DIALECT_NAMES)}
_dialects_schema = {"anyOf": [_word, {"type": "array", "items": _word, "minItems": 1, "uniqueItems": True}]}

Dialects = Annotated[
    tuple[DialectName, ...], BeforeValidator(one_or_more), Field(min_length=1), WithJsonSchema(_dialects_schema)
]


class CorsSettings(Section):
    """Which web pages may call the route from a browser."""

    origins: tuple[Origin, ...] = Field((), description='Allowed origins, such as https://app.example.com; "*": any.')


class InputSettings(Section):
    """One variable of a Dify app's templates."""

    required: StrictBool = Field(False, description="Whether a request without it is refused.")


class RouteSettings(Section):
    """One route: which API is served below a path, and by which upstream."""

    path: RoutePath = Field(description="Requests at or below this path; the longest path wins.")
    dialects: Dialects = Field(
        alias="dialect", description="The API the client speaks, or a list; the earlier one serves a shared endpoint."
    )
    upstream: str = Field(description="A name under upstreams.")
    on_disconnect: OnDisconnect = Field(
        OnDisconnect.CANCEL, description="What happens when the last reader leaves: cancel, finish, or linger first."
    )
    linger: DurationOrZero = Field(20.0, description="How long a generation waits for a reader, for linger.")
    blocking: Literal["pass", "stream"] = Field(
        "pass",
        description="Non-streaming calls: pass byte for byte, or stream: asked upstream as a stream and folded.",
    )
    keepalive: Duration | None = Field(
        None, description="SSE comments this often while the upstream is silent. null: none."
    )
    responses: Literal["pass", "emulate"] = Field(
        "pass", description="The Responses API: pass it on, or emulate it with chat completions."
    )
    only: tuple[RoutePath, ...] = Field(
        (), description="The upstream paths that may be passed through with a configured api_key; empty: all."
    )
    cors: CorsSettings = Field(CorsSettings(), description="Which web pages may call the route.")
    settlement: Literal["produced", "drained", "void"] = Field(
        "produced", description="What a stopped generation is billed for."
    )
    tags: Mapping[Name, str] = Field({}, description="Written to every record of this route.")
    model: str | None = Field(None, min_length=1, description="For requests that name no model.")
    system: str | None = Field(None, description="Dify: the system message, a template over inputs.")
    prompt: str | None = Field(None, description="Dify: the user turn, a template over inputs. Default: the query.")
    inputs: Mapping[Name, InputSettings] | None = Field(
        None, description="Dify: the variables. Default: what the templates name, as optional strings."
    )

    def serving(self, wire_format: str) -> tuple[str, ...]:
        """The names of what serves requests, in order, given the upstream's `format`.

        An emulation goes before the dialect that would pass its requests on. On an upstream of Gemini's format,
        `openai` stands for passing that API through as well.
        """
        return tuple(name for dialect in self.dialects for name in self._servants(dialect, wire_format))

    def _servants(self, dialect: str, wire_format: str) -> tuple[str, ...]:
        if dialect != "openai":
            return (dialect,)
        if wire_format == GEMINI:
            return (GEMINI, dialect)
        return (dialect,) if self.responses == "pass" else (EMULATION, dialect)

    @model_validator(mode="after")
    def _dialects_differ(self) -> Self:
        if len(set(self.dialects)) != len(self.dialects):
            raise misplaced("dialect", "the same dialect stands twice in the list")
        return self
