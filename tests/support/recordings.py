"""The recorded answers of real servers; see tests/recordings/README.md."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "recordings"
STREAMS = sorted(
    path.stem for path in FOLDER.glob("*.body") if "text/event-stream" in path.with_suffix(".head").read_text()
)
CHAT_STREAMS = [name for name in STREAMS if "chat" in name]
COMPLETION_STREAMS = [name for name in STREAMS if "completions" in name]


def recorded(name: str) -> bytes:
    """The body of a recorded answer."""
    return (FOLDER / f"{name}.body").read_bytes()
