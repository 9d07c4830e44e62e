"""What a scrape gets: the published part as finished bytes, and the small part that is always of this moment."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.domain.snapshot import ProjectSnapshot, Snapshot
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.renderer import Block, Headers, Rendered, Renderer, listed_projects, project_identity
from exporter.metrics.exposition.table import Column, Table
from exporter.metrics.exposition.text import EOF, replace_surrogates

_log = structlog.get_logger()

LIVE_FOR_S = 0.25
"""How long the live part is used again: scrapes of several Prometheis share it, and nobody can make it expensive."""

_LEVEL = 5  # on this text a fifth quicker than 6, for one per cent more bytes
_RAW_DEFLATE = -15
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no time, any system
_LARGE_BYTES = 64 * 1024  # from here on a copy costs more than a write
_WHOLE_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """One answer's bytes: a single chunk when small, else chunks shared with other answers, so that nobody copies."""

    chunks: tuple[bytes, ...]
    length: int


@dataclass(frozen=True, slots=True)
class _Static:
    """The published part in one format."""

    plain: tuple[bytes, ...] = ()
    packed: tuple[bytes, ...] = (_GZIP_HEADER,)
    """The beginning of a gzip member: whole deflate blocks, ending on a byte boundary, none of them the last."""
    crc: int = 0
    length: int = 0
    """Of `plain`, which the end of the gzip member has to tell."""


@dataclass(frozen=True, slots=True)
class _Published:
    text: _Static = field(default_factory=_Static)
    openmetrics: _Static = field(default_factory=_Static)


@dataclass(frozen=True, slots=True)
class _Made:
    """An answer, and what it is made of."""

    body: Body
    snapshot: Snapshot | None
    at: float


class Exposition:
    """The four answers: text 0.0.4 or OpenMetrics, each plain or gzip.

    `publish` renders and compresses and may run in a thread; `body` belongs to the event loop and is always quick.
    `newest` gives the snapshot of which the live families tell, None before the first. `monotonic` is in seconds.
    No name is told twice: raises ValueError when families meet under one name or the registry has one of them, and
    leaves out what is registered later under such a name. `_created` series of the registry are left out.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        live_families: Sequence[Family[ProjectSnapshot]],
        newest: Callable[[], Snapshot | None],
        registry: CollectorRegistry,
        monotonic: Callable[[], float],
    ) -> None:
        self._renderer = renderer
        taken = _names((*renderer.families, *live_families))
        self._live = _Live(live_families, registry=_Guarded(registry, taken=taken))
        self._newest = newest
        self._monotonic = monotonic
        self._publishing = Lock()
        self._pieces: dict[bytes, tuple[bytes, bytes]] = {}
        self._blocks: Sequence[Block] = ()
        self._published = _Published()
        self._made: dict[tuple[bool, bool], _Made] = {}
        self._made_of = self._published

    def publish(self, snapshot: Snapshot) -> Rendered:
        """Render, compress, and then in one step serve this snapshot. Blocks for as long as that takes."""
        with self._publishing:
            rendered = self._renderer.render(snapshot)
            if not _same(rendered.blocks, self._blocks):
                self._blocks, self._published = rendered.blocks, self._pack(rendered.blocks)
        return rendered

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """Answer a scrape: the published part as it is, the live part not older than a quarter of a second."""
        now, newest, published = self._monotonic(), self._newest(), self._published
        if self._made_of is not published:
            self._made_of, self._made = published, {}  # so that no old answer keeps old text in memory
        made = self._made.get((openmetrics, gzip))
        if made is None or made.snapshot is not newest or not 0 <= now - made.at < LIVE_FOR_S:
            static = published.openmetrics if openmetrics else published.text
            live = self._live.render(newest, openmetrics=openmetrics)
            made = _Made(_packed(static, live) if gzip else _plain(static, live), newest, now)
            self._made[openmetrics, gzip] = made
        return made.body

    def _pack(self, blocks: Sequence[Block]) -> _Published:
        pieces: list[bytes] | None = None
        kept, self._pieces = self._pieces, {}
        if sum(len(block.body) for block in blocks) > _WHOLE_BYTES:
            pieces = []
            for block in blocks:
                body, piece = kept.get(block.head_text, (b"", b""))
                if body is not block.body:
                    piece = _deflate(block.body)
                self._pieces[block.head_text] = (block.body, piece)
                pieces.append(piece)
        bodies = [block.body for block in blocks]
        return _Published(
            text=_static([block.head_text for block in blocks], bodies, pieces=pieces),
            openmetrics=_static([block.head_openmetrics for block in blocks], bodies, pieces=pieces),
        )


class _Guarded:
    """A registry seen through what must never happen in a scrape: its names are not ours, and each comes once."""

    def __init__(self, registry: CollectorRegistry, *, taken: frozenset[str]) -> None:
        self._registry = registry
        self._taken = taken
        if meeting := sorted(name for metric in registry.collect() for name in _spoken(metric) & taken):
            raise ValueError(f"the registry and the families both tell {', '.join(meeting)}")

    def metrics(self) -> Iterator[Metric]:
        """Collect what may be told; a collector that raises costs itself and those after it, not the scrape."""
        seen = set(self._taken)
        metrics = iter(self._registry.collect())
        while True:
            try:
                metric = next(metrics)
            except StopIteration:
                return
            except Exception:  # noqa: BLE001 - told in the log; a scrape never fails because of a number
                _log.exception("exposition.registry_failed")
                return
            names = _spoken(metric)
            if not names & seen:
                seen |= names
                yield _clean(metric)


class _One:
    """A registry of one metric: prometheus-client only writes registries."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> tuple[Metric]:
        """Hand it over."""
        return (self._metric,)


class _Live:
    """The families of the newest snapshot, and the registry."""

    def __init__(self, families: Sequence[Family[ProjectSnapshot]], *, registry: _Guarded) -> None:
        self._table = Table(Column(family, project_identity) for family in families)
        self._heads = Headers(families)
        self._registry = registry

    def render(self, snapshot: Snapshot | None, *, openmetrics: bool) -> bytes:
        """Write everything in one format, with the end marker where the format wants one."""
        self._table.update(() if snapshot is None else listed_projects(snapshot))
        parts: list[bytes] = []
        for block in self._heads.blocks(self._table.bodies):
            parts += (block.head_openmetrics if openmetrics else block.head_text, block.body)
        for metric in self._registry.metrics():
            parts.append(_written(metric, openmetrics=openmetrics))
        if openmetrics:
            parts.append(EOF)
        return b"".join(parts)


def _written(metric: Metric, *, openmetrics: bool) -> bytes:
    """Have prometheus-client write one metric: it marks the end of each registry, and here more may follow."""
    registry = _One(metric)
    if openmetrics:
        told: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # prometheus-client left it out
        return told.removesuffix(EOF)
    return generate_latest(registry)


def _spoken(metric: Metric) -> set[str]:
    return {metric.name, *(sample.name for sample in metric.samples)}


def _clean(metric: Metric) -> Metric:
    """Leave out when a series was created, which nobody asks for, and what has no UTF-8."""
    clean = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    clean.samples = [
        sample._replace(labels={name: replace_surrogates(value) for name, value in sample.labels.items()})
        for sample in metric.samples
        if sample.name != f"{metric.name}_created"
    ]
    return clean


def _names(families: Iterable[Family[Any]]) -> frozenset[str]:
    """Every name the families speak; raises ValueError when two of them share one."""
    names: set[str] = set()
    for family in families:
        self_metrics = {family.name, family.exposed_name, *family.sample_names}
        if self_metrics & names:
            raise ValueError(f"two families tell {min(self_metrics & names)}")
        names |= self_metrics
    return frozenset(names)


def _static(heads: Sequence[bytes], bodies: Sequence[bytes], *, pieces: Sequence[bytes] | None) -> _Static:
    """Lay out one format; `pieces` are the bodies already compressed, None where compressing it all is as quick.

    In one go the result is also smaller, because a family can point back into the one before it.
    """
    plain = [part for pair in zip(heads, bodies, strict=True) for part in pair]
    if pieces is None:
        packed = [_deflate(b"".join(plain))]
    else:
        packed = [part for head, piece in zip(heads, pieces, strict=True) for part in (_deflate(head), piece)]
    crc = 0
    for part in plain:
        crc = zlib.crc32(part, crc)
    return _Static(
        plain=_chunks(plain), packed=_chunks([_GZIP_HEADER, *packed]), crc=crc, length=sum(map(len, plain))
    )


def _same(blocks: Sequence[Block], others: Sequence[Block]) -> bool:
    """Whether they are the very same bytes, so that nothing need be compressed."""
    return len(blocks) == len(others) and all(
        one.body is other.body and one.head_text is other.head_text for one, other in zip(blocks, others, strict=True)
    )


def _plain(static: _Static, live: bytes) -> Body:
    return _body([*static.plain, live])


def _packed(static: _Static, live: bytes) -> Body:
    """Finish the gzip member that the published part began (RFC 1952: checksum and length of the whole text)."""
    end = struct.pack("<LL", zlib.crc32(live, static.crc), (static.length + len(live)) & 0xFFFFFFFF)
    return _body([*static.packed, _deflate(live, mode=zlib.Z_FINISH), end])


def _body(parts: Sequence[bytes]) -> Body:
    length = sum(map(len, parts))
    return Body(chunks=(b"".join(parts),) if length <= _WHOLE_BYTES else _chunks(parts), length=length)


def _deflate(data: bytes, *, mode: int = zlib.Z_FULL_FLUSH) -> bytes:
    """Compress on its own, so that the result may stand between any others; the last one is told by `Z_FINISH`."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    return compressor.compress(data) + compressor.flush(mode)


def _chunks(parts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Join what is small, for each write costs a system call; leave alone what is large, for it is shared."""
    runs = groupby(parts, key=lambda part: len(part) >= _LARGE_BYTES)
    return tuple(chunk for large, run in runs for chunk in (run if large else (b"".join(run),)))
