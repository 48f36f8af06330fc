"""Floor 3: one file or folder per client-facing API, and one line here for each."""

from proxy.dialects.aitronos.app import Aitronos
from proxy.dialects.anthropic import Anthropic
from proxy.dialects.assistants.app import Assistants
from proxy.dialects.async_messages.app import AsyncMessages
from proxy.dialects.dify.app import Dify
from proxy.dialects.gemini import Gemini
from proxy.dialects.openai import OpenAI
from proxy.dialects.responses.app import Responses
from proxy.engine.dialect import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OpenAI(),
        Responses(),
        Anthropic(),
        Gemini(),
        Dify(),
        AsyncMessages(),
        Aitronos(),
        Assistants(),
    )
}
"""What is served, by its name: a route's `serving` says which of them it has."""
