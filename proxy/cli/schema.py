"""`quell schema`: the JSON Schema of the config file, or of the price file."""

import json

import click

from proxy.config_file.json_schema import config_schema, price_schema


@click.command()
@click.option("--prices", is_flag=True, help="That of the price file instead.")
def schema(prices: bool) -> None:
    """Print the JSON Schema of the config file, for editors."""
    click.echo(json.dumps(price_schema() if prices else config_schema(), indent=2))
