"""Families with at most one sample per subject, which a table can render for many subjects at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from exporter.metrics.exposition.family import Sample

Subject = TypeVar("Subject")
Part = TypeVar("Part")

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def unlabelled(_: object) -> Mapping[str, str]:
    """Give no labels for any subject."""
    return _NO_LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleSample(Generic[Subject, Part]):
    """A `Family.samples` function that gives at most one sample for a subject.

    All three functions are pure, and None from any of them means no sample. A table calls each distinct `part` and
    `labels` function once for a subject, however many families share it; so families should share them.
    """

    part: Callable[[Subject], Part | None]
    """The part of the subject from which the value is read."""
    value: Callable[[Part], float | None] | None
    """None: the value is always 1, because the information is in the labels."""
    labels: Callable[[Subject], Mapping[str, str] | None] = unlabelled
    """Label values by name, in the declared order."""

    def __call__(self, subject: Subject) -> Iterable[Sample]:
        """Give the samples of the subject."""
        part = self.part(subject)
        value = None if part is None else 1.0 if self.value is None else self.value(part)
        labels = None if value is None else self.labels(subject)
        return () if value is None or labels is None else ((labels, float(value)),)
