"""A simulated ModelArts cloud, written from the API reference alone, for demos, tests and fault injection.

It shares no code with the exporter. See docs/simulator.md.
"""

from exporter.simulator.clock import Clock, RealClock, ScaledClock
from exporter.simulator.faults.faults import FAULTS, Fault, parse_fault
from exporter.simulator.faults.quirks import QUIRKS
from exporter.simulator.options import (
    ACCESS_KEY,
    DOMAIN,
    PASSWORD,
    POD_IDENTITY_TOKEN,
    PROJECT_ID,
    PROJECT_NAME,
    SECOND_WORKSPACE,
    SECRET_KEY,
    SECRET_MARKER,
    USER,
    Options,
    ProjectOptions,
)
from exporter.simulator.server import Simulator
from exporter.simulator.world.flavor import Engine, Flavor, flavor
from exporter.simulator.world.job import Job, JobScript, JobState, Role
from exporter.simulator.world.world import World

__all__ = [
    "ACCESS_KEY",
    "DOMAIN",
    "FAULTS",
    "PASSWORD",
    "POD_IDENTITY_TOKEN",
    "PROJECT_ID",
    "PROJECT_NAME",
    "QUIRKS",
    "SECOND_WORKSPACE",
    "SECRET_KEY",
    "SECRET_MARKER",
    "USER",
    "Clock",
    "Engine",
    "Fault",
    "Flavor",
    "Job",
    "JobScript",
    "JobState",
    "Options",
    "ProjectOptions",
    "RealClock",
    "Role",
    "ScaledClock",
    "Simulator",
    "World",
    "flavor",
    "parse_fault",
]
