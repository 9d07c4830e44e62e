"""Sample lines of families (columns) and subjects (rows); only the rows of changed subjects are rendered again."""

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
"""Rows rendered at once; bounds the memory that a render needs."""


@dataclass(frozen=True, slots=True)
class Column(Generic[Subject]):
    """A family and the function that writes the identity labels of its subjects."""

    family: Family[Subject]
    identity_labels: Callable[[Subject], str]
    """Text between the opening brace and the labels of the family; never empty. Called once per subject, however many
    columns share the function."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The lines of some subjects, in order, by column."""

    bodies: list[bytes]
    """Lines of all subjects, by column."""
    lengths: Sequence["array[int]"]
    """Bytes of each row, by column."""
    series: "array[int]"
    """Lines of each row."""
    errors: "array[int]"
    """Errors of each row."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive rows, copied from `rows`."""

    rows: _Rows
    start: int
    stop: int


class Table(Generic[Subject]):
    """The lines of every column, in the order of the subjects.

    A subject counts as unchanged when it is the same object as in the last update, so subjects must be immutable. For
    each subject the table keeps its bytes within the column and one length per column, but no object.
    A family that raises for a subject, or gives other labels than declared, loses its samples for that subject; of
    samples with equal labels only the first is kept. Raises ValueError for a family that has no function.
    """

    def __init__(self, columns: Iterable[Column[Subject]]) -> None:
        columns = tuple(columns)
        self._identity_writers = tuple(dict.fromkeys(column.identity_labels for column in columns))
        self._writers = [_Writer(column) for column in columns]
        self._subjects: Sequence[Subject] = ()
        self._rows = _Rows([b""] * len(columns), [array("I") for _ in columns], array("I"), array("I"))

    @property
    def bodies(self) -> Sequence[bytes]:
        """The lines of each column. An unchanged body is the same object as before."""
        return self._rows.bodies

    @property
    def series(self) -> Sequence[int]:
        """Lines of each subject, in their order."""
        return self._rows.series

    @property
    def errors(self) -> int:
        """Families that raised, over all subjects, and samples with repeated labels."""
        return sum(self._rows.errors)

    def series_by_id(self) -> Mapping[int, int]:
        """Lines by the `id()` of their subject."""
        return {id(subject): series for subject, series in zip(self._subjects, self.series, strict=True)}

    def count_series(self, subject: Subject) -> int:
        """Count the lines a subject would have, without adding it."""
        return self._render([subject]).series[0]

    def update(self, subjects: Sequence[Subject]) -> None:
        """Replace the subjects; each may occur once. Rows of unchanged subjects are kept."""
        if len(subjects) == len(self._subjects) and all(map(is_, subjects, self._subjects)):
            return
        plan = self._plan(subjects)
        columns: list[tuple[bytes, array[int]]] = []
        for at, body in enumerate(self._rows.bodies):
            columns.append(_splice(plan, at, body=body))
            for run in plan:
                if run.rows is not self._rows:
                    run.rows.bodies[at] = b""  # copied; keeping it would double the peak of memory
        series, errors = array("I"), array("I")
        for run in plan:
            series.extend(run.rows.series[run.start : run.stop])
            errors.extend(run.rows.errors[run.start : run.stop])
        bodies, lengths = [body for body, _ in columns], [column_lengths for _, column_lengths in columns]
        self._subjects, self._rows = subjects, _Rows(bodies, lengths, series, errors)

    def _plan(self, subjects: Sequence[Subject]) -> list[_Run]:
        """Describe the new rows as runs: consecutive existing rows, and consecutive new ones."""
        index = {id(subject): at for at, subject in enumerate(self._subjects)}
        old_places = list(map(index.get, map(id, subjects)))
        fresh = [subject for subject, at in zip(subjects, old_places, strict=True) if at is None]
        batches = [self._render(fresh[start : start + _BATCH]) for start in range(0, len(fresh), _BATCH)]
        shifts = [None if was is None else was - at for at, was in enumerate(old_places)]
        plan: list[_Run] = []
        at = used = 0
        for shift, together in groupby(shifts):
            stop = at + len(list(together))
            if shift is None:
                plan.extend(_new_runs(batches, used, used := used + stop - at))
            else:
                plan.append(_Run(self._rows, at + shift, stop + shift))
            at = stop
        return plan

    def _render(self, subjects: Sequence[Subject]) -> _Rows:
        batch = _Batch(subjects, self._identity_writers)
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
        return _Rows(bodies, lengths, array("I", [count + everywhere for count in series]), batch.errors)


class _Batch(Generic[Subject]):
    """Some subjects, and what several columns read from them, computed once."""

    def __init__(self, subjects: Sequence[Subject], identity_writers: Iterable[Callable[[Subject], str]]) -> None:
        self.subjects = subjects
        self.errors = array("I", [0] * len(subjects))
        self.zeros = [0] * len(subjects)
        self.ones = [1] * len(subjects)
        self.identity_labels = {write: _identity_labels(write, subjects, self.errors) for write in identity_writers}
        self._parts: dict[Callable[[Subject], Any], list[Any]] = {}
        self._label_texts: dict[tuple[Any, ...], list[str | None]] = {}

    def parts(self, part: Callable[[Subject], Any]) -> list[Any]:
        """Return the part of each subject. Raises what the function raises for any of them."""
        if part not in self._parts:
            self._parts[part] = [part(subject) for subject in self.subjects]
        return self._parts[part]

    def label_texts(
        self, column: Column[Subject], labels: Callable[[Subject], Mapping[str, str] | None]
    ) -> list[str | None]:
        """Return the text between name and value, by subject; None for no sample. Raises as `parts` does."""
        names = tuple(label.name for label in column.family.labels)
        key = (column.identity_labels, labels, names)
        if key not in self._label_texts:
            write = label_writer(names)
            written: dict[int, str] = {}  # by the id of the mapping, because many subjects share one
            texts: list[str | None] = []
            for identity_labels, values in zip(
                self.identity_labels[column.identity_labels], self.parts(labels), strict=True
            ):
                if identity_labels is None or values is None:
                    texts.append(None)
                    continue
                text = written.get(id(values))
                if text is None:
                    text = written[id(values)] = write(values)
                texts.append(f"{{{identity_labels}{text}}} ")
            self._label_texts[key] = texts
        return self._label_texts[key]


class _Writer(Generic[Subject]):
    """Writes the lines of one family."""

    def __init__(self, column: Column[Subject]) -> None:
        family = column.family
        self._column = column
        self._name = family.exposed_name
        self._write_labels = label_writer([label.name for label in family.labels])
        self._samples: Callable[[Subject], Iterable[tuple[Mapping[str, str], Any]]]
        self._lines: Callable[[str, Mapping[str, str], Any], Iterable[tuple[str, float]]]
        if family.samples is not None:
            self._samples, self._lines = family.samples, self._number_lines
        elif family.distributions is not None:
            self._samples, self._lines = family.distributions, self._histogram_lines
        else:
            raise ValueError(f"{family.name}: cannot be rendered from a subject")

    def write(self, batch: _Batch[Subject]) -> tuple[bytes, list[int], list[int]]:
        """Write the lines of the batch; return them with the number of lines and of bytes of each subject."""
        if isinstance(self._samples, SingleSample):
            with suppress(Exception):  # for one of the subjects; `_write_any` finds out for which
                return self._write_single(batch, self._samples)
        return self._write_any(batch)

    def _write_single(
        self, batch: _Batch[Subject], single: SingleSample[Subject, Any]
    ) -> tuple[bytes, list[int], list[int]]:
        """Write at most one line for each subject, all in one pass; raises when any of them raises."""
        label_texts, parts, read = (
            batch.label_texts(self._column, single.labels),
            batch.parts(single.part),
            single.value,
        )
        pairs = zip(label_texts, parts, strict=True)
        if read is None:
            values = ["" if labels is None or part is None else "1" for labels, part in pairs]
        else:
            values = numbers([None if labels is None or part is None else read(part) for labels, part in pairs])
        if not any(values):
            return b"", batch.zeros, batch.zeros
        name = self._name
        lines = [
            f"{name}{labels}{value}\n" if value else "" for labels, value in zip(label_texts, values, strict=True)
        ]
        data, sizes = _encode(lines)
        return data, batch.ones if all(lines) else list(map(bool, lines)), sizes

    def _write_any(self, batch: _Batch[Subject]) -> tuple[bytes, list[int], list[int]]:
        """Write any number of lines for each subject."""
        samples, errors = self._samples, batch.errors
        found: list[Iterable[tuple[Mapping[str, str], Any]]] | None = None
        with suppress(Exception):  # for one of the subjects; the loop below finds out for which
            found = list(map(samples, batch.subjects))
        if found is not None and not any(found):
            return b"", batch.zeros, batch.zeros
        series: list[str] = []
        values: list[float] = []
        counts: list[int] = []
        before = 0
        for at, identity_labels in enumerate(batch.identity_labels[self._column.identity_labels]):
            if identity_labels is not None:
                try:
                    for sample in samples(batch.subjects[at]) if found is None else found[at]:
                        for name, value in self._lines(identity_labels, *sample):
                            values.append(value)
                            series.append(name)
                except Exception:  # noqa: BLE001 - an error for one subject must not affect the others
                    del series[before:], values[before:]
                    errors[at] += 1
            count = len(series) - before
            if count > 1 and len(set(series[before:])) < count:
                unique: dict[str, float] = {}
                for name, value in zip(series[before:], values[before:], strict=True):
                    unique.setdefault(name, value)
                series[before:], values[before:] = unique.keys(), unique.values()
                errors[at] += count - len(unique)
                count = len(unique)
            before += count
            counts.append(count)
        if not series:
            return b"", batch.zeros, batch.zeros
        lines = [f"{name} {value}\n" for name, value in zip(series, numbers(values), strict=True)]
        data, sizes = _encode(lines)
        ends = list(accumulate(sizes, initial=0))
        return data, counts, [ends[stop] - ends[start] for start, stop in pairwise(accumulate(counts, initial=0))]

    def _number_lines(
        self, identity_labels: str, labels: Mapping[str, str], value: float
    ) -> Iterable[tuple[str, float]]:
        """Give name with labels, and value, of the one line of a sample."""
        return ((f"{self._name}{{{identity_labels}{self._write_labels(labels)}}}", float(value)),)

    def _histogram_lines(
        self, identity_labels: str, labels: Mapping[str, str], value: Buckets
    ) -> Iterator[tuple[str, float]]:
        """Yield the same for each line of a histogram: the cumulative buckets, the count and the sum."""
        name, text, bounds = self._name, identity_labels + self._write_labels(labels), self._column.family.buckets
        if len(value.counts) != len(bounds) + 1:
            raise ValueError(f"{name}: needs one count for each of {len(bounds)} buckets, and one for +Inf")
        cumulative = list(accumulate(value.counts))
        for bound, count in zip((*map(repr, bounds), "+Inf"), cumulative, strict=True):
            yield f'{name}_bucket{{{text},le="{bound}"}}', float(count)
        yield f"{name}_count{{{text}}}", float(cumulative[-1])
        yield f"{name}_sum{{{text}}}", value.sum


def _new_runs(batches: Sequence[_Rows], start: int, stop: int) -> Iterator[_Run]:
    """Locate the new rows from `start` to `stop`; each batch but the last has `_BATCH` of them."""
    while start < stop:
        which, at = divmod(start, _BATCH)
        count = min(stop - start, _BATCH - at)
        yield _Run(batches[which], at, at + count)
        start += count


def _identity_labels(
    write: Callable[[Subject], str], subjects: Sequence[Subject], errors: "array[int]"
) -> list[str | None]:
    """Write the identity labels of each subject; None, and an error, where that raises."""
    texts: list[str | None] = []
    for at, subject in enumerate(subjects):
        try:
            texts.append(write(subject))
        except Exception:  # noqa: BLE001 - an error for one subject must not affect the others
            texts.append(None)
            errors[at] += 1
    return texts


def _encode(lines: Sequence[str]) -> tuple[bytes, list[int]]:
    """Join and encode lines; return the bytes and the number of bytes of each line."""
    text = "".join(lines)
    data = text.encode()
    return data, list(map(len, lines)) if len(data) == len(text) else [len(line.encode()) for line in lines]


def _splice(plan: Sequence[_Run], column: int, *, body: bytes) -> tuple[bytes, "array[int]"]:
    """Build a column from the plan; return its body, the old object when equal, and the length of each row."""
    ends: dict[int, list[int]] = {}
    parts: list[bytes | memoryview] = []
    new_lengths = array("I")
    for run in plan:
        rows, lengths = run.rows, run.rows.lengths[column]
        if run.stop - run.start == len(lengths):
            new_lengths.extend(lengths)
            parts.append(rows.bodies[column])
            continue
        new_lengths.extend(lengths[run.start : run.stop])
        if rows.bodies[column]:
            if id(rows) not in ends:
                ends[id(rows)] = list(accumulate(lengths, initial=0))
            row_ends = ends[id(rows)]
            parts.append(memoryview(rows.bodies[column])[row_ends[run.start] : row_ends[run.stop]])
    joined = b"".join(parts)
    return (body if joined == body else joined), new_lengths
