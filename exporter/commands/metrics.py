"""`modelarts-exporter metrics`."""

import click

from exporter.metrics import reference


@click.command(epilog="\b\nExample:\n  modelarts-exporter metrics --format=json | jq -r '.families[].name'\n")
@click.option(
    "--format", "form", type=click.Choice(["markdown", "json"]), default="markdown", show_default=True, help="Form."
)
def metrics(form: str) -> None:
    """Print the catalogue of all metrics: name, type, labels, unit, meaning, source, stability."""
    click.echo(reference.markdown() if form == "markdown" else reference.json_document().decode(), nl=False)
