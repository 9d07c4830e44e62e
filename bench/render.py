"""Compares rendering with prometheus-client: the same series of the same jobs, in one process, on one core.

Each time is the lowest processor time of several rounds, because other load on the machine can only increase it.

Usage: python bench/render.py [jobs]
"""

import dataclasses
import gzip
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, TrackedJob
from exporter.domain.usage import JobUsage
from exporter.metrics.catalog import JOB_FAMILIES, LIVE_FAMILIES, PROJECT_FAMILIES
from exporter.metrics.exposition.exposition import Exposition
from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.labels import IDENTITY_LABELS
from exporter.metrics.exposition.renderer import Renderer

PROJECT = "vision"
ALL_CHANGED_BUDGET = 1 / 10
SOME_CHANGED_BUDGET = 1 / 50
ROUNDS = 7


def tracked(rng: random.Random, *, number: int) -> TrackedJob:
    """Create a running job with a usage reading; it has about 20 series."""
    job = Job(
        job_id=f"{rng.getrandbits(32):08x}-5b6c-4d7e-8f90-{number:012x}",
        api=Api.V2,
        name=f"train-resnet-{number}",
        user=f"user-{number % 40}",
        workspace_id="0",
        pool_id=f"pool-{number % 8}",
        flavor="modelarts.p3.large.public",
        accelerator=Accelerator.GPU,
        accelerator_model="nvidia-a100-nv80",
        engine="pytorch_1.8.0-cuda_10.2",
        kind="job",
        status=JobStatus.RUNNING,
        reason="Running",
        submitted_at=1_700_000_000.0 + number,
        started_at=1_700_000_100.0 + number,
        run_duration_s=float(number),
        spec_nodes=2,
        reported_nodes=2,
        spec_accelerators=16.0,
    )
    return TrackedJob(project=PROJECT, job=job, usage=reading(rng))


def reading(rng: random.Random) -> JobUsage:
    """Create a usage reading."""
    return JobUsage(
        accelerator_mean_ratio=rng.random(),
        idle_s=0.0,
        cpu_ratio=rng.random(),
        memory_ratio=rng.random(),
        accelerator_ratio=rng.random(),
        accelerator_min_ratio=rng.random(),
        accelerator_memory_ratio=rng.random(),
    )


def changed(jobs: list[TrackedJob], rng: random.Random, *, share: float) -> list[TrackedJob]:
    """Give a random share of the jobs a new reading."""
    chosen = set(rng.sample(range(len(jobs)), round(len(jobs) * share)))
    return [dataclasses.replace(job, usage=reading(rng)) if at in chosen else job for at, job in enumerate(jobs)]


def snapshot(jobs: list[TrackedJob]) -> Snapshot:
    """Create a snapshot, as polling does."""
    project = ProjectSnapshot(project=PROJECT, jobs={job.job.job_id: job for job in jobs})
    return Snapshot(taken_at=1_700_000_000.0, projects=(project,))


class Reference:
    """A collector that gives the same families to prometheus-client."""

    def __init__(self, newest: Snapshot) -> None:
        self.newest = newest

    def describe(self) -> list[Metric]:
        """Nothing, so that registration does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Build each family with all its samples."""
        for family in JOB_FAMILIES:
            yield self._metric(
                family, [job for project in self.newest.projects for job in (project.jobs or {}).values()]
            )
        for of_project in PROJECT_FAMILIES:
            yield self._metric(of_project, list(self.newest.projects))

    def _metric(self, family: Family[Any], subjects: list[Any]) -> Metric:
        kinds: dict[Type, type[Any]] = {
            Type.GAUGE: GaugeMetricFamily,
            Type.COUNTER: CounterMetricFamily,
            Type.INFO: InfoMetricFamily,
            Type.HISTOGRAM: HistogramMetricFamily,  # without observations here
        }
        identity = [label.name for label in IDENTITY_LABELS[family.subject]]
        declared = [] if family.type is Type.INFO else [label.name for label in family.labels]
        metric = kinds[family.type](family.name, family.help, labels=[*identity, *declared])
        samples = family.samples or (lambda _: ())
        for subject in subjects:
            identity_values = [subject.project, subject.job.job_id] if family.subject == "job" else [subject.project]
            for labels, value in samples(subject):
                if family.type is Type.INFO:
                    metric.add_metric(identity_values, labels)
                else:
                    metric.add_metric([*identity_values, *labels.values()], value)
        return cast(Metric, metric)


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one run of the function."""
    started = time.process_time()
    run()
    return time.process_time() - started


def verdict(name: str, ratio: float, budget: float) -> None:
    """Print a ratio and its budget."""
    print(f"{name:58} {ratio:8.4f}  budget {budget:.4f} or less  {'ok' if ratio <= budget else 'MISSED'}")


def main(count: int) -> None:
    """Measure, and print seconds and ratios."""
    rng = random.Random(1)  # noqa: S311 - seeded, so that runs are repeatable
    jobs = [tracked(rng, number=number) for number in range(count)]
    registry = CollectorRegistry()
    reference = Reference(snapshot(jobs))
    registry.register(reference)
    renderer = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, max_series_per_project=10**9)
    exposition = Exposition(
        Renderer(JOB_FAMILIES, PROJECT_FAMILIES, max_series_per_project=10**9),
        live_families=LIVE_FAMILIES,
        newest=lambda: reference.newest,
        registry=CollectorRegistry(),
        monotonic=time.monotonic,
    )
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, share in (("all", 1.0), ("some", 0.01)):
            jobs = changed(jobs, rng, share=share)
            reference.newest = snapshot(jobs)
            times.setdefault(f"render {name}", []).append(seconds(lambda: renderer.render(reference.newest)))
            times.setdefault(f"publish {name}", []).append(seconds(lambda: exposition.publish(reference.newest)))
        times.setdefault("reference", []).append(seconds(lambda: generate_latest(registry)))
        times.setdefault("reference gzip", []).append(seconds(lambda: gzip.compress(generate_latest(registry))))
    rendered = renderer.render(reference.newest)
    print(f"{count} jobs, {rendered.series[PROJECT]} series, {len(rendered.text) / 1e6:.1f} MB")
    best = {name: min(measured) for name, measured in times.items()}
    for name, value in best.items():
        print(f"{name:58} {value:8.4f} s")
    verdict(
        "render, all jobs changed / prometheus-client", best["render all"] / best["reference"], ALL_CHANGED_BUDGET
    )
    verdict("render, 1 % changed / prometheus-client", best["render some"] / best["reference"], SOME_CHANGED_BUDGET)
    print("with compression on both sides, without a budget:")
    print(f"publish, all jobs changed / client and gzip {best['publish all'] / best['reference gzip']:.3f}")
    print(f"publish, 1 % changed / client and gzip {best['publish some'] / best['reference gzip']:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10_000)
