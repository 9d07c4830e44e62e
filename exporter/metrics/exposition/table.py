"""Families by subjects as finished bytes, of which only the rows of changed subjects are made anew."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from operator import add, is_
from typing import Any, Generic, TypeVar

from exporter.metrics.exposition.family import Buckets, Family
from exporter.metrics.exposition.single import SingleSample
from exporter.metrics.exposition.text import label_writer, numbers

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
class _Rows:
    """The lines of some subjects, one after the other in each column."""

    bodies: list[bytes]
    """By column."""
    lengths: Sequence["array[int]"]
    """Bytes of each row's part, by column."""
    series: "array[int]"
    """Lines of each row."""
    refused: "array[int]"


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows that are to stand together as they stand in `rows`."""

    rows: _Rows
    start: int
    stop: int


class Table(Generic[Subject]):
    """The lines of every column, one subject after the other, in the order of the subjects.

    A subject is taken for unchanged when it is the very object that stood in the last update, so subjects must be
    immutable. Kept for a subject: its bytes within the column and one length a column, no object of its own.
    A family that raises for a subject, or gives other labels than it declared, loses its samples for that subject;
    a sample that repeats the labels of another is left out. Raises ValueError for a family without a function of a
    subject.
    """

    def __init__(self, columns: Iterable[Column[Subject]]) -> None:
        columns = tuple(columns)
        self._identities = tuple(dict.fromkeys(column.identity for column in columns))
        self._writers = [_Writer(column) for column in columns]
        self._subjects: Sequence[Subject] = ()
        self._rows = _Rows([b""] * len(columns), [array("I") for _ in columns], array("I"), array("I"))

    @property
    def bodies(self) -> Sequence[bytes]:
        """The lines of each column. A body that did not change is the same object as before."""
        return self._rows.bodies

    @property
    def series(self) -> Sequence[int]:
        """Lines of each subject, in their order."""
        return self._rows.series

    @property
    def refused(self) -> int:
        """Families that raised, over all subjects, and samples left out."""
        return sum(self._rows.refused)

    def weights(self) -> Mapping[int, int]:
        """Lines by the `id` of their subject."""
        return {id(subject): series for subject, series in zip(self._subjects, self.series, strict=True)}

    def weigh(self, subject: Subject) -> int:
        """How many lines a subject would have; nothing is kept."""
        return self._make([subject]).series[0]

    def update(self, subjects: Sequence[Subject]) -> None:
        """Make the table show these subjects, each once, in this order."""
        if len(subjects) == len(self._subjects) and all(map(is_, subjects, self._subjects)):
            return
        plan = self._plan(subjects)
        columns: list[tuple[bytes, array[int]]] = []
        for at, body in enumerate(self._rows.bodies):
            columns.append(_splice(plan, at, body=body))
            for run in plan:
                if run.rows is not self._rows:
                    run.rows.bodies[at] = b""  # it is in the new body: all columns twice would be the peak of memory
        series, refused = array("I"), array("I")
        for run in plan:
            series.extend(run.rows.series[run.start : run.stop])
            refused.extend(run.rows.refused[run.start : run.stop])
        bodies, lengths = [body for body, _ in columns], [self_metrics for _, self_metrics in columns]
        self._subjects, self._rows = subjects, _Rows(bodies, lengths, series, refused)

    def _plan(self, subjects: Sequence[Subject]) -> list[_Run]:
        """What the new rows consist of: runs of those that stood together before, and runs of new ones."""
        known = {id(subject): at for at, subject in enumerate(self._subjects)}
        places = list(map(known.get, map(id, subjects)))
        fresh = [subject for subject, at in zip(subjects, places, strict=True) if at is None]
        batches = [self._make(fresh[start : start + _BATCH]) for start in range(0, len(fresh), _BATCH)]
        moved = [None if was is None else was - at for at, was in enumerate(places)]
        plan: list[_Run] = []
        at = made = 0
        for by, together in groupby(moved):
            stop = at + len(list(together))
            if by is None:
                plan.extend(_runs(batches, made, made := made + stop - at))
            else:
                plan.append(_Run(self._rows, at + by, stop + by))
            at = stop
        return plan

    def _make(self, subjects: Sequence[Subject]) -> _Rows:
        batch = _Batch(subjects, self._identities)
        series = batch.zeros
        everywhere = 0
        bodies: list[bytes] = []
        lengths: list[array[int]] = []
        for writer in self._writers:
            piece, counts, sizes = writer.write(batch)
            bodies.append(piece)
            lengths.append(array("I", sizes))
            if counts is batch.ones:
                everywhere += 1
            elif counts is not batch.zeros:
                series = list(map(add, series, counts))
        return _Rows(bodies, lengths, array("I", [count + everywhere for count in series]), batch.refused)


class _Batch(Generic[Subject]):
    """Some subjects, and what several families ask of them, told once."""

    def __init__(self, subjects: Sequence[Subject], identities: Iterable[Callable[[Subject], str]]) -> None:
        self.subjects = subjects
        self.refused = array("I", [0] * len(subjects))
        self.zeros = [0] * len(subjects)
        self.ones = [1] * len(subjects)
        self.identities = {identity: _names(identity, subjects, refused=self.refused) for identity in identities}
        self._parts: dict[Callable[[Subject], Any], list[Any]] = {}
        self._heads: dict[tuple[Any, ...], list[str | None]] = {}

    def parts(self, part: Callable[[Subject], Any]) -> list[Any]:
        """What the function gives for each subject. Raises what it raises for any."""
        if part not in self._parts:
            self._parts[part] = [part(subject) for subject in self.subjects]
        return self._parts[part]

    def heads(
        self, column: Column[Subject], labels: Callable[[Subject], Mapping[str, str] | None]
    ) -> list[str | None]:
        """What stands between the name and the number, by subject; None for no sample. Raises as `parts` does."""
        names = tuple(label.name for label in column.family.labels)
        key = (column.identity, labels, names)
        if key not in self._heads:
            tell = label_writer(names)
            known: dict[int, str] = {}  # by the mapping itself: many subjects share one
            heads: list[str | None] = []
            for identity, self_metrics in zip(self.identities[column.identity], self.parts(labels), strict=True):
                if identity is None or self_metrics is None:
                    heads.append(None)
                    continue
                told = known.get(id(self_metrics))
                if told is None:
                    told = known[id(self_metrics)] = tell(self_metrics)
                heads.append(f"{{{identity}{told}}} ")
            self._heads[key] = heads
        return self._heads[key]


class _Writer(Generic[Subject]):
    """Writes the lines of one family."""

    def __init__(self, column: Column[Subject]) -> None:
        family = column.family
        self._column = column
        self._name = family.exposed_name
        self._tell = label_writer([label.name for label in family.labels])
        self._samples: Callable[[Subject], Iterable[tuple[Mapping[str, str], Any]]]
        self._lines: Callable[[str, Mapping[str, str], Any], Iterable[tuple[str, float]]]
        if family.samples is not None:
            self._samples, self._lines = family.samples, self._of_a_number
        elif family.distributions is not None:
            self._samples, self._lines = family.distributions, self._of_a_histogram
        else:
            raise ValueError(f"{family.name}: cannot be rendered from a subject")

    def write(self, batch: _Batch[Subject]) -> tuple[bytes, list[int], list[int]]:
        """Write the lines of some subjects; how many lines each has, and how many bytes."""
        if isinstance(self._samples, SingleSample):
            with suppress(Exception):  # of one of the subjects; asked one by one they tell which
                return self._write_single(batch, self._samples)
        return self._write_any(batch)

    def _write_single(
        self, batch: _Batch[Subject], single: SingleSample[Subject, Any]
    ) -> tuple[bytes, list[int], list[int]]:
        """Write a line or none for each subject, all together; raises when that cannot be done for any of them."""
        heads, parts, value = batch.heads(self._column, single.labels), batch.parts(single.part), single.value
        paired = zip(heads, parts, strict=True)
        if value is None:
            told = ["" if head is None or part is None else "1" for head, part in paired]
        else:
            told = numbers([None if head is None or part is None else value(part) for head, part in paired])
        if not any(told):
            return b"", batch.zeros, batch.zeros
        name = self._name
        lines = [f"{name}{head}{number}\n" if number else "" for head, number in zip(heads, told, strict=True)]
        data, sizes = _measured(lines)
        return data, batch.ones if all(lines) else list(map(bool, lines)), sizes

    def _write_any(self, batch: _Batch[Subject]) -> tuple[bytes, list[int], list[int]]:
        """Write any number of lines for each subject."""
        samples, refused = self._samples, batch.refused
        found: list[Iterable[tuple[Mapping[str, str], Any]]] | None = None
        with suppress(Exception):  # of one of the subjects; asked one by one they tell which
            found = list(map(samples, batch.subjects))
        if found is not None and not any(found):
            return b"", batch.zeros, batch.zeros
        told: list[str] = []
        values: list[float] = []
        counts: list[int] = []
        before = 0
        for at, identity in enumerate(batch.identities[self._column.identity]):
            if identity is not None:
                try:
                    for sample in samples(batch.subjects[at]) if found is None else found[at]:
                        for head, value in self._lines(identity, *sample):
                            values.append(value)
                            told.append(head)
                except Exception:  # noqa: BLE001 - whatever a family makes of one subject must not cost the others
                    del told[before:], values[before:]
                    refused[at] += 1
            count = len(told) - before
            if count > 1 and len(set(told[before:])) < count:
                once: dict[str, float] = {}
                for head, value in zip(told[before:], values[before:], strict=True):
                    once.setdefault(head, value)
                told[before:], values[before:] = once.keys(), once.values()
                refused[at] += count - len(once)
                count = len(once)
            before += count
            counts.append(count)
        if not told:
            return b"", batch.zeros, batch.zeros
        lines = [f"{head} {number}\n" for head, number in zip(told, numbers(values), strict=True)]
        data, sizes = _measured(lines)
        marks = list(accumulate(sizes, initial=0))
        return data, counts, [marks[stop] - marks[start] for start, stop in pairwise(accumulate(counts, initial=0))]

    def _of_a_number(
        self, identity: str, self_metrics: Mapping[str, str], value: float
    ) -> Iterable[tuple[str, float]]:
        """Name and labels of the one line of a sample, and its value."""
        return ((f"{self._name}{{{identity}{self._tell(self_metrics)}}}", float(value)),)

    def _of_a_histogram(
        self, identity: str, self_metrics: Mapping[str, str], value: Buckets
    ) -> Iterator[tuple[str, float]]:
        """As above, line by line: the buckets, each with what is in those before it, then the count and the sum."""
        name, labels, bounds = self._name, identity + self._tell(self_metrics), self._column.family.buckets
        if len(value.counts) != len(bounds) + 1:
            raise ValueError(f"{name}: needs one count for each of {len(bounds)} buckets, and one beyond")
        counted = list(accumulate(value.counts))
        for bound, count in zip((*map(repr, bounds), "+Inf"), counted, strict=True):
            yield f'{name}_bucket{{{labels},le="{bound}"}}', float(count)
        yield f"{name}_count{{{labels}}}", float(counted[-1])
        yield f"{name}_sum{{{labels}}}", value.sum


def _runs(batches: Sequence[_Rows], start: int, stop: int) -> Iterator[_Run]:
    """Where the new rows of these numbers stand, when there are `_BATCH` in each batch."""
    while start < stop:
        which, at = divmod(start, _BATCH)
        count = min(stop - start, _BATCH - at)
        yield _Run(batches[which], at, at + count)
        start += count


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


def _measured(lines: Sequence[str]) -> tuple[bytes, list[int]]:
    """Put lines together: the bytes, and how many each line has."""
    text = "".join(lines)
    data = text.encode()
    return data, list(map(len, lines)) if len(data) == len(text) else [len(line.encode()) for line in lines]


def _splice(plan: Sequence[_Run], column: int, *, body: bytes) -> tuple[bytes, "array[int]"]:
    """Put a column together; the body it had when nothing in it changed, and the length of each row's part."""
    ends: dict[int, list[int]] = {}
    parts: list[bytes | memoryview] = []
    told = array("I")
    for run in plan:
        rows, lengths = run.rows, run.rows.lengths[column]
        if run.stop - run.start == len(lengths):
            told.extend(lengths)
            parts.append(rows.bodies[column])
            continue
        told.extend(lengths[run.start : run.stop])
        if rows.bodies[column]:
            if id(rows) not in ends:
                ends[id(rows)] = list(accumulate(lengths, initial=0))
            self_metrics = ends[id(rows)]
            parts.append(memoryview(rows.bodies[column])[self_metrics[run.start] : self_metrics[run.stop]])
    joined = b"".join(parts)
    return (body if joined == body else joined), told
