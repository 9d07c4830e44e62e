"""`modelarts-exporter metrics`."""

import click

from exporter.metrics import metric_docs


@click.command(epilog="\b\nExample:\n  modelarts-exporter metrics --format=json | jq -r '.families[].name'\n")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "json"]),
    default="markdown",
    show_default=True,
    help="Format.",
)
def metrics(form: str) -> None:
    """Print the catalog of all metrics: name, type, labels, unit, meaning, source, stability."""
    click.echo(metric_docs.markdown() if form == "markdown" else metric_docs.json_document().decode(), nl=False)
