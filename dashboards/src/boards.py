"""All boards, in the order of `docs/dashboards.md`. `dashboards/generate.py` writes one file for each."""

from . import exporter_health, fleet, job, jobs, pools, queue, users, waste
from .board import Board

BOARDS: tuple[Board, ...] = (
    fleet.BOARD,
    queue.BOARD,
    jobs.BOARD,
    job.BOARD,
    users.BOARD,
    waste.BOARD,
    pools.BOARD,
    exporter_health.BOARD,
)
