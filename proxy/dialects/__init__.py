"""Floor 3: one file or folder per client-facing API, and one line here for each."""

from proxy.dialects.aitronos.app import Aitronos
from proxy.dialects.async_messages.app import AsyncMessages
from proxy.dialects.dify.app import Dify
from proxy.dialects.openai import OpenAI
from proxy.engine.dialect import Dialect

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OpenAI(), Dify(), AsyncMessages(), Aitronos())}
"""The dialects that are served, by their names in the settings."""
