"""Colours that mean the same on every board: thresholds, and the statuses of a job."""

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.models import dashboard as model

from .promql import STATUS, vocabulary

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"

Steps = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Thresholds:
    """A colour to begin with, and from which value on another one holds, in the panel's unit."""

    base: str
    steps: Steps = ()

    def build(self) -> model.ThresholdsConfig:
        """Make the setting of a panel or a column."""
        steps = [model.Threshold(value=None, color=self.base)]
        steps += [model.Threshold(value=value, color=colour) for value, colour in self.steps]
        return builder.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps).build()


PLAIN = Thresholds(BLUE)
"""For a number that is neither good nor bad."""
NONE_IS_GOOD = Thresholds(GREEN, ((1, RED),))
ALL_IS_GOOD = Thresholds(RED, ((1, GREEN),))
UTILISATION = Thresholds(RED, ((0.2, ORANGE), (0.5, YELLOW), (0.7, GREEN)))
"""A ratio of which more is better."""
WAIT_S = Thresholds(GREEN, ((1800, YELLOW), (7200, ORANGE), (86_400, RED)))
"""Seconds in a queue: half an hour, two hours, a day."""
IDLE_S = Thresholds(GREEN, ((600, YELLOW), (1800, ORANGE), (3600, RED)))
"""Seconds of idleness: ten minutes, half an hour, an hour (where the alert begins)."""
ACCELERATORS: Mapping[str, str] = {"gpu": BLUE, "npu": "purple", "unknown": GREY}
"""Kinds of accelerator, in lines."""
POOL_STATES: Mapping[str, str] = {
    "allocated": BLUE,
    "free": GREEN,
    "unavailable": RED,
    "available": GREEN,
    "creating": "light-blue",
    "abnormal": RED,
    "deleting": ORANGE,
    "queued": YELLOW,
}
"""States of what a pool is made of, accelerators and nodes, in lines; `queued` is what waits for them."""
LOOP = Thresholds(GREEN, ((1, YELLOW), (2, RED)))
"""Runs in a row that broke at once: one happens, two are a loop."""
SHARE_IDLE = Thresholds(GREEN, ((0.05, ORANGE), (0.15, RED)))
"""Which part of what is held is wasted."""
AGE_S = Thresholds(GREEN, ((120, YELLOW), (300, RED)))
"""Age of data: two minutes are a few missed polls; at five the job series are withdrawn by default."""


@dataclass(frozen=True)
class Look:
    """How a status is drawn."""

    code: int
    colour: str


STATUSES: Mapping[str, Look] = {
    "unknown": Look(0, GREY),
    "initializing": Look(1, "light-blue"),
    "queued": Look(2, YELLOW),
    "running": Look(3, GREEN),
    "scaling": Look(4, "blue"),
    "terminating": Look(5, ORANGE),
    "completed": Look(6, "super-light-green"),
    "terminated": Look(7, "purple"),
    "failed": Look(8, RED),
    "lost": Look(9, "dark-red"),
}
"""By the order of a life: where two replicas differ for a moment, the larger code is the newer truth."""

if set(STATUSES) != set(vocabulary(STATUS, "status")):
    raise ValueError("each status of the catalogue needs a look, and no other")

CODES: Mapping[str, int] = {status: look.code for status, look in STATUSES.items()}


def status_mapping() -> list[model.ValueMapping]:
    """Turn status codes back into words and colours."""
    return [
        model.ValueMap(
            options={
                str(look.code): model.ValueMappingResult(text=status, color=look.colour, index=look.code)
                for status, look in STATUSES.items()
            }
        )
    ]


def words(meaning: Mapping[int, tuple[str, str]]) -> list[model.ValueMapping]:
    """Show numbers as words: number to (word, colour)."""
    return [
        model.ValueMap(
            options={
                str(number): model.ValueMappingResult(text=word, color=colour, index=index)
                for index, (number, (word, colour)) in enumerate(meaning.items())
            }
        )
    ]


def nothing_as(word: str) -> list[model.ValueMapping]:
    """Show the absence of a number as a grey word, not in the colour of the lowest threshold."""
    return [
        model.SpecialValueMap(
            options=model.DashboardSpecialValueMapOptions(
                match=model.SpecialValueMatch.NULL_AND_NAN,
                result=model.ValueMappingResult(text=word, color=GREY),
            )
        )
    ]
