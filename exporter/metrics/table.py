"""Families by subjects as finished bytes, of which only the rows of changed subjects are made anew."""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import add, is_
from typing import Generic, TypeVar

from exporter.metrics.family import Family, Type
from exporter.metrics.text import numbers, teller

Subject = TypeVar("Subject")

_BATCH = 512
"""Rows written before they are turned into bytes: bounds what a render needs for a moment."""


@dataclass(frozen=True, slots=True)
class Column(Generic[Subject]):
    """A family, and the text of the labels that precede its own."""

    family: Family[Subject]
    identity: Callable[[Subject], str]
    """What stands between the brace and the family's own labels, never empty; it is asked once for all the columns
    that share the function."""


@dataclass(frozen=True, slots=True)
class _Keep:
    """Rows that stay, by where they stood."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Made:
    """New rows: for each column the bytes of all of them, and the length of each one's part."""

    pieces: list[bytes]
    lengths: list["array[int]"]
    series: "array[int]"
    refused: "array[int]"


class Table(Generic[Subject]):
    """The lines of every column, one subject after the other, in the order of the subjects.

    A subject is taken for unchanged when it is the very object that stood in the last update, so subjects must be
    immutable. Kept for a subject: its bytes within the column and one length a column, no object of its own.
    A family that raises for a subject, or gives other labels than it declared, loses its samples for that subject;
    a sample that repeats the labels of another is left out. Raises ValueError for a family without a function of a
    subject, and for histograms: our own instruments tell those.
    """

    def __init__(self, columns: Iterable[Column[Subject]]) -> None:
        columns = tuple(columns)
        self._identities = list(dict.fromkeys(column.identity for column in columns))
        self._writers = [_Writer(column.family) for column in columns]
        self._named_by = [self._identities.index(column.identity) for column in columns]
        self._subjects: Sequence[Subject] = ()
        self._lengths: list[array[int]] = [array("I") for _ in columns]
        self._series = array("I")
        self._refused = array("I")
        self.bodies: list[bytes] = [b""] * len(columns)
        """The lines of each column. A body that did not change is the same object as before."""

    @property
    def series(self) -> Sequence[int]:
        """Lines of each subject, in their order."""
        return self._series

    @property
    def refused(self) -> int:
        """Families that raised, over all subjects, and samples left out."""
        return sum(self._refused)

    def weights(self) -> Mapping[int, int]:
        """Lines by the `id` of their subject."""
        return {id(subject): series for subject, series in zip(self._subjects, self._series, strict=True)}

    def weigh(self, subject: Subject) -> int:
        """How many lines a subject would have; nothing is kept."""
        return self._make([subject]).series[0]

    def update(self, subjects: Sequence[Subject]) -> None:
        """Make the table show these subjects, each once, in this order."""
        if len(subjects) == len(self._subjects) and all(map(is_, subjects, self._subjects)):
            return
        plan = self._plan(subjects)
        for at, body in enumerate(self.bodies):
            self.bodies[at], self._lengths[at] = _splice(plan, at, body=body, lengths=self._lengths[at])
        series, refused = array("I"), array("I")
        for step in plan:
            if isinstance(step, _Made):
                series.extend(step.series)
                refused.extend(step.refused)
            else:
                series.extend(self._series[step.start : step.stop])
                refused.extend(self._refused[step.start : step.stop])
        self._subjects, self._series, self._refused = subjects, series, refused

    def _plan(self, subjects: Sequence[Subject]) -> list[_Keep | _Made]:
        """What the new rows consist of: runs of those that stood together before, and batches of new ones."""
        known = {id(subject): at for at, subject in enumerate(self._subjects)}
        plan: list[_Keep | _Made] = []
        fresh: list[Subject] = []
        start = stop = 0
        for subject in subjects:
            at = known.get(id(subject))
            if at is not None and at == stop and stop > start:
                stop += 1
                continue
            if stop > start:
                plan.append(_Keep(start, stop))
                start = stop = 0
            if fresh and (at is not None or len(fresh) == _BATCH):
                plan.append(self._make(fresh))
                fresh = []
            if at is None:
                fresh.append(subject)
            else:
                start, stop = at, at + 1
        if stop > start:
            plan.append(_Keep(start, stop))
        if fresh:
            plan.append(self._make(fresh))
        return plan

    def _make(self, subjects: Sequence[Subject]) -> _Made:
        refused = array("I", bytes(array("I").itemsize * len(subjects)))
        named = [_names(identity, subjects, refused=refused) for identity in self._identities]
        series = [0] * len(subjects)
        pieces: list[bytes] = []
        lengths: list[array[int]] = []
        for writer, which in zip(self._writers, self._named_by, strict=True):
            piece, counts, told = writer.write(subjects, named[which], refused=refused)
            pieces.append(piece)
            lengths.append(array("I", told))
            series = list(map(add, series, counts))
        return _Made(pieces, lengths, array("I", series), refused)


class _Writer(Generic[Subject]):
    """Writes the lines of one family."""

    def __init__(self, family: Family[Subject]) -> None:
        if family.samples is None or family.type is Type.HISTOGRAM:
            raise ValueError(f"{family.name}: cannot be rendered from a subject")
        self._samples = family.samples
        self._start = family.exposed_name + "{"
        self._labelled = bool(family.labels)
        self._tell = teller([label.name for label in family.labels])

    def write(
        self, subjects: Sequence[Subject], identities: Sequence[str | None], *, refused: "array[int]"
    ) -> tuple[bytes, list[int], list[int]]:
        """Write the lines of some subjects; how many lines each has, and how many bytes."""
        samples, tell, labelled = self._samples, self._tell, self._labelled
        told: list[str] = []
        values: list[float] = []
        counts: list[int] = []
        before = 0
        for at, subject in enumerate(subjects):
            identity = identities[at]
            if identity is not None:
                try:
                    for own, value in samples(subject):
                        values.append(float(value))
                        told.append(identity + tell(own) if labelled or own else identity)
                except Exception:  # noqa: BLE001 - whatever a family makes of one subject must not cost the others
                    del told[before:], values[before:]
                    refused[at] += 1
            count = len(told) - before
            if count > 1 and len(set(told[before:])) < count:
                once: dict[str, float] = {}
                for labels, value in zip(told[before:], values[before:], strict=True):
                    once.setdefault(labels, value)
                told[before:], values[before:] = once.keys(), once.values()
                refused[at] += count - len(once)
                count = len(once)
            before += count
            counts.append(count)
        start = self._start
        lines = [f"{start}{labels}}} {number}\n" for labels, number in zip(told, numbers(values), strict=True)]
        return _joined(lines, counts)


def _names(
    identity: Callable[[Subject], str], subjects: Sequence[Subject], *, refused: "array[int]"
) -> list[str | None]:
    """The identity of each subject; None for one that cannot even be named."""
    told: list[str | None] = []
    for at, subject in enumerate(subjects):
        try:
            told.append(identity(subject))
        except Exception:  # noqa: BLE001 - as above: the others are rendered all the same
            told.append(None)
            refused[at] += 1
    return told


def _joined(lines: Sequence[str], counts: list[int]) -> tuple[bytes, list[int], list[int]]:
    """Put lines together and measure them: the bytes, the lines of each subject, and their bytes."""
    if not lines:
        return b"", counts, counts
    text = "".join(lines)
    data = text.encode()
    sizes = list(map(len, lines)) if len(data) == len(text) else [len(line.encode()) for line in lines]
    if len(sizes) == len(counts) and min(counts):
        return data, counts, sizes  # one line each
    marks = list(accumulate(sizes, initial=0))
    return data, counts, [marks[stop] - marks[start] for start, stop in pairwise(accumulate(counts, initial=0))]


def _splice(
    plan: Sequence[_Keep | _Made], column: int, *, body: bytes, lengths: "array[int]"
) -> tuple[bytes, "array[int]"]:
    """Put a column together from what it was and what was made; the old body when nothing in it changed."""
    ends = list(accumulate(lengths, initial=0)) if body else []
    view = memoryview(body)
    parts: list[bytes | memoryview] = []
    told = array("I")
    for step in plan:
        if isinstance(step, _Made):
            parts.append(step.pieces[column])
            told.extend(step.lengths[column])
        else:
            told.extend(lengths[step.start : step.stop])
            if ends:
                parts.append(view[ends[step.start] : ends[step.stop]])
    joined = b"".join(parts)
    return (body if joined == body else joined), told
