"""Every board once, in the order an operator meets them."""

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
