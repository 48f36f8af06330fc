"""`quell schema`: the config file's JSON Schema."""

import json

import click

from proxy.config_file.json_schema import config_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of the config file, for editors."""
    click.echo(json.dumps(config_schema(), indent=2))
