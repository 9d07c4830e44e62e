"""A metric family as a value: it names, explains and computes itself; docs, tests and dashboards read it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Subject = TypeVar("Subject")
Sample = tuple[Mapping[str, str], float]
"""Label values by name (those of the family's own labels only, in the declared order) and the value."""

_NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")
_RESERVED_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info")
_RESERVED_LABELS = frozenset({"job", "instance", "le", "quantile", "__name__"})


class Type(StrEnum):
    """OpenMetrics types we use. In text 0.0.4 an info is told as a gauge."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"
    HISTOGRAM = "histogram"


class Stability(StrEnum):
    """What a reader may rely on: stable names change only after two minor releases of warning."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """What a histogram has counted: in each of the family's buckets, not cumulative, and beyond them; and the sum."""

    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label name with what its values can be."""

    name: str
    help: str
    values: tuple[str, ...] = ()
    """The whole vocabulary, where it is bounded by us; empty where the cloud makes the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Generic[Subject]):
    """One metric family.

    `name` is the OpenMetrics family name: without `_total` for counters, without `_info` for infos; `exposed_name`
    is what a query uses. Raises ValueError when the declaration breaks the rules of OpenMetrics or of this project.
    """

    name: str
    help: str
    type: Type
    subject: str
    """What one set of samples is about: `job`, `project`, `pool`, or `exporter` for our own instruments."""
    source: str
    """Where the value comes from: the API field of each generation, or "own" work."""
    labels: tuple[Label, ...] = ()
    """Beside the subject's identity labels (see `metrics.identity.IDENTITY`)."""
    unit: str = ""
    """OpenMetrics unit (`seconds`, `ratio`, `bytes`…): then the name ends in it. Empty: a count, a state, a rate."""
    stability: Stability = Stability.STABLE
    buckets: tuple[float, ...] = ()
    """Histograms only: upper bounds without +Inf."""
    samples: Callable[[Subject], Iterable[Sample]] | None = None
    """Pure: subject to samples; no sample where there is nothing to say. None for our own live instruments, and for
    histograms."""
    distributions: Callable[[Subject], Iterable[tuple[Mapping[str, str], Buckets]]] | None = None
    """Histograms only, likewise: labels and what was counted under them."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.endswith(_RESERVED_SUFFIXES):
            raise ValueError(f"{self.name}: not a family name, or it ends in a suffix OpenMetrics reserves")
        if not self.help.endswith("."):
            raise ValueError(f"{self.name}: the help must be a sentence")
        if (self.samples if self.type is Type.HISTOGRAM else self.distributions) is not None:
            raise ValueError(f"{self.name}: histograms, and only they, give distributions")
        if (self.type is Type.HISTOGRAM) != bool(self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: histograms, and only they, have buckets, in rising order")
        if self.unit and not self.name.endswith("_" + self.unit):
            raise ValueError(f"{self.name}: a family with unit {self.unit} must end in it")
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names) or _RESERVED_LABELS & set(names):
            raise ValueError(f"{self.name}: label names repeat or belong to Prometheus: {names}")

    @property
    def exposed_name(self) -> str:
        """The name a query uses: `_total` on counters, `_info` on infos."""
        match self.type:
            case Type.COUNTER:
                return self.name + "_total"
            case Type.INFO:
                return self.name + "_info"
            case _:
                return self.name

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Every name its samples carry: `_bucket`, `_count` and `_sum` for histograms, else the exposed name."""
        if self.type is Type.HISTOGRAM:
            return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))
        return (self.exposed_name,)
