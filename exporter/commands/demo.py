"""`modelarts-exporter demo`."""

import json

import click

from exporter import app, log
from exporter.commands.flags import AddressType, flag, logging
from exporter.commands.run import handle_signals, run
from exporter.commands.simulate import EVERYWHERE, cloud_address, world
from exporter.settings import Settings, load
from exporter.simulator import ACCESS_KEY, DOMAIN, PASSWORD, SECRET_KEY, USER, Options, ProjectOptions, Simulator
from exporter.web.address import Address

VISION = ProjectOptions(id="d3300000000000000000000000000001", name="eu-de_vision")
SPEECH = ProjectOptions(id="d3300000000000000000000000000002", name="eu-de_speech")

_BREAKDOWNS = 2.0
"""Random node failures per hour and project: most of the time one node is broken."""

_PRICES = {
    "currency": "EUR",
    "accelerator_hour": [
        {"accelerator_model": "GP-Vnt1", "price": 2.4},
        {"accelerator_model": "ascend-Snt9b", "price": 2.8},
        {"flavor": "modelarts.vm.gpu.8v100NV32", "price": 2.1},
    ],
}
"""Invented. Jobs in the pool of A100s have no price, to show missing prices too."""


def settings_for(url: str) -> Settings:
    """Settings for the two demo projects: one with an access key, one with a password, both generations in each."""
    shared = {
        "region": "eu-de",
        "endpoint": url,
        "iam_endpoint": url,
        "rate_limit": {"requests_per_second": 50, "burst": 100, "concurrency": 8},
    }
    keys = {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    password = {"type": "password", "username": USER, "password": PASSWORD, "domain_name": DOMAIN}
    document = {
        "targets": [
            {"project": "vision", "project_id": VISION.id, "credentials": keys, **shared},
            {"project": "speech", "project_name": SPEECH.name, "credentials": password, **shared},
        ],
        "collection": {
            "jobs_interval": "5s",
            "usage_interval": "15s",
            "pools_interval": "15s",
            "sweep_interval": "10m",
            "stale_after": "1m",
            "retention": "2h",
        },
        "metrics": {"idle_grace": "2m", "hang_after": "5m"},  # jobs run for minutes here, not for hours
        "prices": _PRICES,
    }
    return load(json.dumps(document), environ={})


@click.command(epilog="\b\nExample:\n  modelarts-exporter demo --jobs=100 --web.listen-address=127.0.0.1:10310\n")
@flag("web.listen-address", default="127.0.0.1:10310", type=AddressType(), help="Address of the exporter.")
@cloud_address("Address of the simulated cloud.")
@world(jobs=40, history=400)
@click.option("--pace", default=10.0, show_default=True, help="Divisor of all durations; timestamps stay real time.")
@logging(default="console")
def demo(
    web_listen_address: Address,
    listen_address: Address,
    jobs: int,
    history: int,
    seed: int,
    pace: float,
    log_level: log.Level,
    log_format: log.Format,
) -> None:
    """Run a simulated cloud and an exporter for it; needs no account and no settings file."""
    log.configure(log_level, format=log_format)
    options = Options(
        jobs=jobs, history=history, seed=seed, pace=pace, breakdowns=_BREAKDOWNS, projects=(VISION, SPEECH)
    )

    async def serve() -> None:
        signals = handle_signals()
        async with Simulator(options, host=listen_address.host or EVERYWHERE, port=listen_address.port) as cloud:
            web = app.WebOptions(
                listen_addresses=(web_listen_address,), on_listening=lambda bound: _print_addresses(bound, cloud.url)
            )
            settings = settings_for(_local_url(cloud.url))
            await app.serve(settings, load=lambda: settings, web=web, signals=signals, clock=app.RealClock())

    run(serve)


def _local_url(url: str) -> str:
    """URL of a simulated cloud that listens on all interfaces; settings allow plain HTTP to loopback only."""
    return url.replace(f"//{EVERYWHERE}:", "//127.0.0.1:")


def _print_addresses(bound: tuple[Address, ...], cloud: str) -> None:
    """Print the addresses of exporter and simulated cloud."""
    where = Address(bound[0].host or "127.0.0.1", bound[0].port)
    click.echo(f"exporter         http://{where}/  (metrics at /metrics)", err=True)
    click.echo(f"simulated cloud  {_local_url(cloud)}/simulator/", err=True)
    click.echo("Press Ctrl-C to stop both.", err=True)
