"""Every board once, in the order an operator meets them."""

from . import exporter_health, fleet, job, jobs, waste
from .board import Board

BOARDS: tuple[Board, ...] = (fleet.BOARD, jobs.BOARD, job.BOARD, waste.BOARD, exporter_health.BOARD)
