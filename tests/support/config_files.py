"""Config files for tests: written to a folder, loaded, their problems as text."""

from collections.abc import Mapping
from pathlib import Path

from proxy.config_file import Loaded, load

SMALLEST = """\
version: 1
upstreams:
  openai:
    base_url: https://api.openai.com/v1
routes:
  - path: /v1
    dialect: openai
    upstream: openai
"""


def load_text(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Loaded:
    """Load a file with this content."""
    path = folder / "quell.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, environ or {})


def problems(loaded: Loaded) -> list[str]:
    """Each problem as `LINE:COL: message`."""
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in loaded.problems]


def warnings(loaded: Loaded) -> list[str]:
    """Each warning as `LINE:COL: message`."""
    return [f"{warning.line}:{warning.column}: {warning.message}" for warning in loaded.warnings]
