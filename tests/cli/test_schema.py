import json
from pathlib import Path

from support.quell import quell


def test_schema_prints_json_that_names_its_draft(tmp_path: Path) -> None:
    """An editor can be pointed at the output as it is."""
    done = quell("schema", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["required"] == ["version", "upstreams", "routes"]


def test_the_price_list_has_a_schema_too(tmp_path: Path) -> None:
    """An editor helps with both files."""
    schema = json.loads(quell("schema", "--prices", folder=tmp_path).stdout)
    assert schema["required"] == ["version", "currency", "models"]
