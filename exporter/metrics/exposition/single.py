"""One sample a subject or none, told in parts that a table can ask for many subjects, and many families, at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from exporter.metrics.exposition.family import Sample

Subject = TypeVar("Subject")
Part = TypeVar("Part")

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def unlabelled(_: object) -> Mapping[str, str]:
    """No labels, whatever the subject."""
    return _NO_LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleSample(Generic[Subject, Part]):
    """The function of a family of which a subject has one sample at most; calling it gives that sample.

    Families that are to be quick share the very functions for `part` and `labels`: a table asks each of them once
    for a subject. Both are pure, and None from any of the three means no sample.
    """

    part: Callable[[Subject], Part | None]
    """What of the subject the value is read from."""
    value: Callable[[Part], float | None] | None
    """None: always 1, because what the sample says is in its labels."""
    labels: Callable[[Subject], Mapping[str, str] | None] = unlabelled
    """Values by name, the declared names in the declared order."""

    def __call__(self, subject: Subject) -> Iterable[Sample]:
        """Samples, as `Family.samples` gives them."""
        part = self.part(subject)
        value = None if part is None else 1.0 if self.value is None else self.value(part)
        labels = None if value is None else self.labels(subject)
        return () if value is None or labels is None else ((labels, float(value)),)
