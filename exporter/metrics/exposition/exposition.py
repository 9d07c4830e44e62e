"""Bodies of `/metrics` responses: the published part, rendered in advance, and the live part, rendered on request."""

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
from exporter.metrics.exposition.renderer import (
    Block,
    Headers,
    Rendered,
    Renderer,
    project_identity_labels,
    unique_projects,
)
from exporter.metrics.exposition.table import Column, Table
from exporter.metrics.exposition.text import EOF, replace_surrogates

_log = structlog.get_logger()

LIVE_MAX_AGE_S = 0.25
"""How long a body is cached. Replicas of Prometheus share it, and frequent requests cause at most four renders per
second for each format and encoding."""

_COMPRESSION_LEVEL = 5  # a fifth faster than 6 on this text, and one per cent larger
_RAW_DEFLATE = -15
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no time, any system
_LARGE_CHUNK_BYTES = 64 * 1024  # copying more than this takes longer than a further write
_ONE_CHUNK_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """A response body: one chunk when small, else several, of which large ones are shared with other bodies."""

    chunks: tuple[bytes, ...]
    length: int


@dataclass(frozen=True, slots=True)
class _Format:
    """The published part in one format."""

    plain: tuple[bytes, ...] = ()
    compressed: tuple[bytes, ...] = (_GZIP_HEADER,)
    """Start of a gzip member: the header and complete deflate blocks up to a byte boundary, none of them final."""
    crc: int = 0
    """CRC-32 of `plain`, which the gzip trailer needs."""
    length: int = 0
    """Bytes of `plain`, which the gzip trailer needs."""


@dataclass(frozen=True, slots=True)
class _Published:
    text: _Format = field(default_factory=_Format)
    openmetrics: _Format = field(default_factory=_Format)


@dataclass(frozen=True, slots=True)
class _CachedBody:
    body: Body
    snapshot: Snapshot | None
    """The snapshot of its live part."""
    at: float


class Exposition:
    """The exposition in text 0.0.4 and OpenMetrics, each plain or gzip.

    `publish` renders and compresses, and may run in a thread; `body` belongs to the event loop and is always fast.
    `newest` returns the snapshot for the live families, None before the first one. `monotonic` is in seconds.
    No family appears twice: raises ValueError when two families, or a family and the registry, have a name in common;
    a metric registered later under such a name is left out. `_created` series of the registry are left out.
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
        names = _family_names((*renderer.families, *live_families))
        self._live = _LivePart(live_families, registry=_FilteredRegistry(registry, family_names=names))
        self._newest = newest
        self._monotonic = monotonic
        self._publishing = Lock()
        self._compressed: dict[bytes, tuple[bytes, bytes]] = {}
        """Bodies of the last publish, before and after compression, by header."""
        self._blocks: Sequence[Block] = ()
        self._published = _Published()
        self._cache: dict[tuple[bool, bool], _CachedBody] = {}
        self._cached_from = self._published

    def publish(self, snapshot: Snapshot) -> Rendered:
        """Render and compress the snapshot, then serve it, all at once. Blocks until it is done."""
        with self._publishing:
            rendered = self._renderer.render(snapshot)
            if not _identical(rendered.blocks, self._blocks):
                self._blocks, self._published = rendered.blocks, self._build(rendered.blocks)
        return rendered

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """Return the body of a response: the published part, and a live part not older than `LIVE_MAX_AGE_S`."""
        now, newest, published = self._monotonic(), self._newest(), self._published
        if self._cached_from is not published:
            self._cached_from, self._cache = published, {}  # an old body would keep the old text in memory
        cached = self._cache.get((openmetrics, gzip))
        if cached is None or cached.snapshot is not newest or not 0 <= now - cached.at < LIVE_MAX_AGE_S:
            part = published.openmetrics if openmetrics else published.text
            live = self._live.render(newest, openmetrics=openmetrics)
            cached = _CachedBody(_gzip_body(part, live) if gzip else _plain_body(part, live), newest, now)
            self._cache[openmetrics, gzip] = cached
        return cached.body

    def _build(self, blocks: Sequence[Block]) -> _Published:
        """Build the published part in both formats; unchanged large bodies are not compressed again."""
        compressed: list[bytes] | None = None
        before, self._compressed = self._compressed, {}
        if sum(len(block.body) for block in blocks) > _ONE_CHUNK_BYTES:
            compressed = []
            for block in blocks:
                body, result = before.get(block.header_text, (b"", b""))
                if body is not block.body:
                    result = _deflate(block.body)
                self._compressed[block.header_text] = (block.body, result)
                compressed.append(result)
        bodies = [block.body for block in blocks]
        return _Published(
            text=_format([block.header_text for block in blocks], bodies, compressed=compressed),
            openmetrics=_format([block.header_openmetrics for block in blocks], bodies, compressed=compressed),
        )


class _FilteredRegistry:
    """A registry without metrics whose names belong to families or occur twice."""

    def __init__(self, registry: CollectorRegistry, *, family_names: frozenset[str]) -> None:
        self._registry = registry
        self._family_names = family_names
        if common := sorted(name for metric in registry.collect() for name in _metric_names(metric) & family_names):
            raise ValueError(f"the registry and the families both have {', '.join(common)}")

    def metrics(self) -> Iterator[Metric]:
        """Collect the metrics. A collector that raises ends the collection, but the scrape succeeds."""
        seen = set(self._family_names)
        metrics = iter(self._registry.collect())
        while True:
            try:
                metric = next(metrics)
            except StopIteration:
                return
            except Exception:  # noqa: BLE001 - logged; one collector must not fail the scrape
                _log.exception("exposition.registry_failed")
                return
            names = _metric_names(metric)
            if not names & seen:
                seen |= names
                yield _clean(metric)


class _SingleMetricRegistry:
    """A registry of one metric, because prometheus-client only writes registries."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> tuple[Metric]:
        """Return the metric."""
        return (self._metric,)


class _LivePart:
    """The live families of the newest snapshot, and the registry."""

    def __init__(self, families: Sequence[Family[ProjectSnapshot]], *, registry: _FilteredRegistry) -> None:
        self._table = Table(Column(family, project_identity_labels) for family in families)
        self._headers = Headers(families)
        self._registry = registry

    def render(self, snapshot: Snapshot | None, *, openmetrics: bool) -> bytes:
        """Render in one format, with the end marker of OpenMetrics."""
        self._table.update(() if snapshot is None else unique_projects(snapshot))
        parts: list[bytes] = []
        for block in self._headers.blocks(self._table.bodies):
            parts += (block.header_openmetrics if openmetrics else block.header_text, block.body)
        for metric in self._registry.metrics():
            parts.append(_write_metric(metric, openmetrics=openmetrics))
        if openmetrics:
            parts.append(EOF)
        return b"".join(parts)


def _write_metric(metric: Metric, *, openmetrics: bool) -> bytes:
    """Write one metric by prometheus-client, without the end marker, because more metrics may follow."""
    registry = _SingleMetricRegistry(metric)
    if openmetrics:
        text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # prometheus-client left it out
        return text.removesuffix(EOF)
    return generate_latest(registry)


def _metric_names(metric: Metric) -> set[str]:
    return {metric.name, *(sample.name for sample in metric.samples)}


def _clean(metric: Metric) -> Metric:
    """Leave out `_created` samples, and replace lone surrogates, which UTF-8 cannot encode."""
    clean = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    clean.samples = [
        sample._replace(labels={name: replace_surrogates(value) for name, value in sample.labels.items()})
        for sample in metric.samples
        if sample.name != f"{metric.name}_created"
    ]
    return clean


def _family_names(families: Iterable[Family[Any]]) -> frozenset[str]:
    """Return the names of the families and their samples; raises ValueError when two families share one."""
    names: set[str] = set()
    for family in families:
        new = {family.name, family.exposed_name, *family.sample_names}
        if new & names:
            raise ValueError(f"two families have the name {min(new & names)}")
        names |= new
    return frozenset(names)


def _format(headers: Sequence[bytes], bodies: Sequence[bytes], *, compressed: Sequence[bytes] | None) -> _Format:
    """Build one format. `compressed` holds the compressed bodies; None: compress headers and bodies together.

    Together they become smaller, because a family can refer back to the one before it.
    """
    plain = [part for pair in zip(headers, bodies, strict=True) for part in pair]
    if compressed is None:
        deflated = [_deflate(b"".join(plain))]
    else:
        pairs = zip(headers, compressed, strict=True)
        deflated = [part for header, body in pairs for part in (_deflate(header), body)]
    crc = 0
    for part in plain:
        crc = zlib.crc32(part, crc)
    return _Format(
        plain=_chunks(plain), compressed=_chunks([_GZIP_HEADER, *deflated]), crc=crc, length=sum(map(len, plain))
    )


def _identical(blocks: Sequence[Block], others: Sequence[Block]) -> bool:
    """Whether all bytes are the same objects, so that nothing has to be compressed."""
    return len(blocks) == len(others) and all(
        one.body is other.body and one.header_text is other.header_text
        for one, other in zip(blocks, others, strict=True)
    )


def _plain_body(part: _Format, live: bytes) -> Body:
    return _body([*part.plain, live])


def _gzip_body(part: _Format, live: bytes) -> Body:
    """Complete the gzip member of the published part (RFC 1952: CRC-32 and length of the uncompressed text)."""
    trailer = struct.pack("<LL", zlib.crc32(live, part.crc), (part.length + len(live)) & 0xFFFFFFFF)
    return _body([*part.compressed, _deflate(live, mode=zlib.Z_FINISH), trailer])


def _body(parts: Sequence[bytes]) -> Body:
    length = sum(map(len, parts))
    return Body(chunks=(b"".join(parts),) if length <= _ONE_CHUNK_BYTES else _chunks(parts), length=length)


def _deflate(data: bytes, *, mode: int = zlib.Z_FULL_FLUSH) -> bytes:
    """Compress independently, so that the result can stand between any others; `Z_FINISH` marks the final one."""
    compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    return compressor.compress(data) + compressor.flush(mode)


def _chunks(parts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Join small parts, because each write is a system call; keep large parts, because they are shared."""
    runs = groupby(parts, key=lambda part: len(part) >= _LARGE_CHUNK_BYTES)
    return tuple(chunk for large, run in runs for chunk in (run if large else (b"".join(run),)))
