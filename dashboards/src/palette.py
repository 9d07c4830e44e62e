"""Colours with one meaning on every board: thresholds, and the statuses of a job."""

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.models import dashboard as model

from .promql import STATUS, vocabulary

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"

Steps = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Thresholds:
    """A base colour, and the values in the panel's unit from which another colour applies."""

    base: str
    steps: Steps = ()

    def build(self) -> model.ThresholdsConfig:
        """Build the setting of a panel or a column."""
        steps = [model.Threshold(value=None, color=self.base)]
        steps += [model.Threshold(value=value, color=colour) for value, colour in self.steps]
        return builder.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps).build()


NEUTRAL = Thresholds(BLUE)
"""For a number that is neither good nor bad."""
ZERO_IS_GOOD = Thresholds(GREEN, ((1, RED),))

UTILISATION = Thresholds(RED, ((0.2, ORANGE), (0.5, YELLOW), (0.7, GREEN)))
"""For a ratio where higher is better."""
WAIT_S = Thresholds(GREEN, ((1800, YELLOW), (7200, ORANGE), (86_400, RED)))
"""Seconds in a queue: half an hour, two hours, a day."""
IDLE_S = Thresholds(GREEN, ((600, YELLOW), (1800, ORANGE), (3600, RED)))
"""Idle seconds: ten minutes, half an hour, an hour (the threshold of the alert)."""
ACCELERATORS: Mapping[str, str] = {"gpu": BLUE, "npu": "purple", "unknown": GREY}
"""Colours of series by kind of accelerator."""
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
"""Colours of series by state of a pool's accelerators and nodes; `queued` is the demand of queued jobs."""
CRASH_LOOP = Thresholds(GREEN, ((1, YELLOW), (2, RED)))
"""Runs in a row that failed soon after their start: one can happen, two are a crash loop."""
WASTED_SHARE = Thresholds(GREEN, ((0.05, ORANGE), (0.15, RED)))
"""Share of held accelerators that is idle or lost."""
AGE_S = Thresholds(GREEN, ((120, YELLOW), (300, RED)))
"""Age of data: two minutes are a few missed polls; after five, job series are withdrawn by default."""


@dataclass(frozen=True)
class StatusStyle:
    """Numeric code and colour of a status."""

    code: int
    colour: str


STATUSES: Mapping[str, StatusStyle] = {
    "unknown": StatusStyle(0, GREY),
    "initializing": StatusStyle(1, "light-blue"),
    "queued": StatusStyle(2, YELLOW),
    "running": StatusStyle(3, GREEN),
    "scaling": StatusStyle(4, "blue"),
    "terminating": StatusStyle(5, ORANGE),
    "completed": StatusStyle(6, "super-light-green"),
    "terminated": StatusStyle(7, "purple"),
    "failed": StatusStyle(8, RED),
    "lost": StatusStyle(9, "dark-red"),
}
"""In the order of a job's lifecycle: where two replicas differ, the larger code is the newer status."""

if unmatched := sorted(set(STATUSES) ^ set(vocabulary(STATUS, "status"))):
    raise ValueError(
        f"dashboards/src/palette.py: STATUSES must have exactly the statuses of {STATUS}; differing: {unmatched}"
    )

CODES: Mapping[str, int] = {status: style.code for status, style in STATUSES.items()}


def status_mapping() -> list[model.ValueMapping]:
    """Map status codes to names and colours."""
    return [
        model.ValueMap(
            options={
                str(style.code): model.ValueMappingResult(text=status, color=style.colour, index=style.code)
                for status, style in STATUSES.items()
            }
        )
    ]


def value_mappings(words: Mapping[int, tuple[str, str]]) -> list[model.ValueMapping]:
    """Map numbers to words and colours: number to (word, colour)."""
    return [
        model.ValueMap(
            options={
                str(number): model.ValueMappingResult(text=word, color=colour, index=index)
                for index, (number, (word, colour)) in enumerate(words.items())
            }
        )
    ]


def null_mapping(word: str) -> list[model.ValueMapping]:
    """Show an absent number as a grey word, not in the colour of the lowest threshold."""
    return [
        model.SpecialValueMap(
            options=model.DashboardSpecialValueMapOptions(
                match=model.SpecialValueMatch.NULL_AND_NAN,
                result=model.ValueMappingResult(text=word, color=GREY),
            )
        )
    ]
