"""A metric family as a value: name, help, labels, and the function that computes its samples."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Subject = TypeVar("Subject")
Sample = tuple[Mapping[str, str], float]
"""Values of the family's labels by name, in the declared order and without identity labels; then the value."""

_NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")
_RESERVED_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info")
_RESERVED_LABELS = frozenset({"job", "instance", "le", "quantile", "__name__"})


class Type(StrEnum):
    """The OpenMetrics types in use. Text 0.0.4 has no info; there it is a gauge."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"
    HISTOGRAM = "histogram"


class Stability(StrEnum):
    """A stable family changes only after a deprecation notice of two minor releases."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Observations of a histogram: one count, not cumulative, for each bucket of the family and for +Inf; the sum."""

    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label and its possible values."""

    name: str
    help: str
    values: tuple[str, ...] = ()
    """All possible values, when the exporter bounds them; empty when they come from the cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Generic[Subject]):
    """One metric family.

    `name` is the OpenMetrics family name: without `_total` for counters, without `_info` for infos; `exposed_name`
    is the name in queries. Raises ValueError when the declaration violates OpenMetrics or a rule of this project.
    """

    name: str
    help: str
    type: Type
    subject: str
    """What one set of samples describes: `job`, `project`, `pool`, or `exporter` for self-metrics."""
    source: str
    """Where the value comes from: the API field of each generation, or `own` when the exporter computes it."""
    labels: tuple[Label, ...] = ()
    """Without the identity labels of the subject, which are in `labels.IDENTITY_LABELS`."""
    unit: str = ""
    """OpenMetrics unit (`seconds`, `ratio`, `bytes`…); the name ends with it. Empty for counts, states and rates."""
    stability: Stability = Stability.STABLE
    buckets: tuple[float, ...] = ()
    """Histograms only: upper bounds in the unit of the family, without +Inf."""
    samples: Callable[[Subject], Iterable[Sample]] | None = None
    """Pure function from a subject to its samples; one without a known value is left out. None for self-metrics and
    for histograms."""
    distributions: Callable[[Subject], Iterable[tuple[Mapping[str, str], Buckets]]] | None = None
    """Histograms only: pure function from a subject to label values and observations."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.endswith(_RESERVED_SUFFIXES):
            raise ValueError(f"{self.name}: not a family name, or it ends in a suffix reserved by OpenMetrics")
        if not self.help.endswith("."):
            raise ValueError(f"{self.name}: the help must end with a full stop")
        if (self.samples if self.type is Type.HISTOGRAM else self.distributions) is not None:
            raise ValueError(f"{self.name}: exactly histograms have distributions instead of samples")
        if (self.type is Type.HISTOGRAM) != bool(self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: exactly histograms have buckets, in ascending order")
        if self.unit and not self.name.endswith("_" + self.unit):
            raise ValueError(f"{self.name}: a family with unit {self.unit} must end with it")
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names) or _RESERVED_LABELS & set(names):
            raise ValueError(f"{self.name}: label names are repeated or reserved by Prometheus: {names}")

    @property
    def exposed_name(self) -> str:
        """The name in queries: with `_total` for counters and `_info` for infos."""
        match self.type:
            case Type.COUNTER:
                return self.name + "_total"
            case Type.INFO:
                return self.name + "_info"
            case _:
                return self.name

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names of its samples: with `_bucket`, `_count` and `_sum` for histograms, else the exposed name."""
        if self.type is Type.HISTOGRAM:
            return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))
        return (self.exposed_name,)
