"""Floor 3: one file per client-facing API, and one line here for each."""

from proxy.dialects.openai import OpenAI
from proxy.engine.dialect import Dialect

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OpenAI(),)}
"""The dialects that are served, by their names in the settings."""
