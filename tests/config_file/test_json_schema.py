from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError

from proxy.config_file.json_schema import config_schema, price_schema
from proxy.core.settings.settings import LogSettings, RouteSettings, Settings, UpstreamSettings
from support.program import ROOT


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object inside the schema, itself included."""
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    for item in schema if isinstance(schema, list) else ():
        yield from parts(item)


def test_the_schema_has_every_key_of_the_types() -> None:
    """One set of types checks the file and helps in the editor."""
    schema = config_schema()
    assert schema["properties"].keys() == Settings.model_fields.keys()
    for model in (UpstreamSettings, LogSettings):
        assert schema["definitions"][model.__name__]["properties"].keys() == model.model_fields.keys()
    route = schema["definitions"]["RouteSettings"]
    assert route["properties"].keys() == {field.alias or name for name, field in RouteSettings.model_fields.items()}
    assert route["required"] == ["path", "dialect", "upstream"]
    assert route["additionalProperties"] is False


def test_the_schema_is_draft_07() -> None:
    """Editors read draft-07: definitions, and nothing beside a $ref."""
    schema = config_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    for part in parts(schema):
        assert "$defs" not in part
        if isinstance(part.get("$ref"), str):
            assert part.keys() == {"$ref"}
            assert part["$ref"].removeprefix("#/definitions/") in schema["definitions"]


def test_every_key_has_its_help() -> None:
    """An editor can say what each key means."""
    schema = config_schema()
    for section in (schema, *schema["definitions"].values()):
        for name, part in section.get("properties", {}).items():
            target = schema["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            assert target.get("description"), name


def test_defaults_are_shown_as_one_writes_them() -> None:
    """Durations and sizes have their unit, addresses their colon, in the schema too."""
    schema = config_schema()
    limits, ledger = (schema["definitions"][name]["properties"] for name in ("LimitsSettings", "LedgerSettings"))
    assert limits["body"]["default"] == "20MiB"
    assert (ledger["flush"]["default"], ledger["keep"]["default"]) == ("250ms", "90d")
    assert schema["properties"]["listen"]["default"] == "127.0.0.1:8484"


def test_a_number_may_be_a_variable() -> None:
    """`slots: ${SLOTS}` is no error in the editor, since it is none here."""
    streams = config_schema()["definitions"]["LimitsSettings"]["properties"]["streams"]
    assert streams["anyOf"] == [{"minimum": 1, "type": "integer"}, {"type": "string", "pattern": r"\$\{"}]


def test_the_price_list_has_one_too() -> None:
    """The example of a price list fits its schema; a number without quotes does not, nor does an unknown key."""
    validator = Draft7Validator(price_schema())
    example = yaml.safe_load((ROOT / "config" / "prices.yaml").read_text())
    validator.validate(example)
    for wrong in ({"input": 0.15, "output": "1"}, {"input": "1", "output": "1", "cachd": "1"}, {"input": "1"}):
        with pytest.raises(ValidationError):
            validator.validate({**example, "models": {"m": wrong}})
        with pytest.raises(ValidationError):
            validator.validate({**example, "models": [{"model": "m", **wrong}]})
    validator.validate({**example, "models": [{"model": "m", "input": "1", "output": "1"}]})
