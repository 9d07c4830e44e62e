"""Random draws: what a new job looks like, and its script, both drawn once when it is submitted."""

import random
from dataclasses import dataclass
from typing import TypeVar

from exporter.simulator.world.flavor import ENGINES, Engine, Flavor, flavor
from exporter.simulator.world.job import FINE_TUNING, Api, Incident, JobScript, JobState, Role
from exporter.simulator.world.pool import CPU_POOL, GPU_POOL, LEGACY_POOL, NPU_POOL

USERS = ("vision-train", "speech-lab", "ranking-ci", "ads-nightly", "robotics", "llm-pretrain", "notebook-export")
MEAN_LIFETIME_S = 6_600.0
"""Mean time from submission to end, queueing included, that results from the draws below."""


# Each table repeats its entries by their weight, so that one `choice` draws from it.

_Choice = TypeVar("_Choice")


def _weighted(*entries: tuple[_Choice, int]) -> tuple[_Choice, ...]:
    return tuple(entry for entry, times in entries for _ in range(times))


_PLACES = {  # pool, accelerator
    "v1": _weighted((("", "gpu"), 24), (("", "npu"), 12), (("", "cpu"), 10), ((LEGACY_POOL, "gpu"), 9)),
    "v2": _weighted(
        (("", "gpu"), 24),
        (("", "npu"), 12),
        (("", "cpu"), 10),
        ((GPU_POOL, "gpu"), 22),
        ((NPU_POOL, "npu"), 20),
        ((CPU_POOL, "cpu"), 3),
    ),
}
_SIZES = _weighted(  # nodes, cards
    ((1, 1), 10), ((1, 2), 6), ((1, 4), 6), ((1, 8), 13), ((2, 8), 8), ((4, 8), 5), ((8, 8), 2)
)
_MODELS = ("resnet50", "llama-sft", "whisper-ft", "bert-ner", "yolo-v8", "deepfm", "gpt-pretrain", "sdxl-lora", "etl")
_IN_PLACE = "npu_step_retry"
"""The policy that heals a run without interrupting it."""
_POLICIES = ("npu_proc_restart", "gpu_proc_restart", "proc_restart", "pod_reschedule", "job_reschedule", _IN_PLACE)
_SCENARIOS = ("chip_fault", "node_fault", "job_failed", "job_hanged", "job_subhealth", "error_in_log")
_OUTCOMES = _weighted(
    (JobState.COMPLETED, 74),
    (JobState.FAILED, 14),
    (JobState.TERMINATED, 9),
    (JobState.LOST, 2),
    (JobState.CREATE_FAILED, 1),
)
_EXIT_CODES = _weighted((1, 50), (137, 25), (139, 8), (134, 6), (127, 6), (255, 5))
_WEIGHTED_USERS = _weighted(*zip(USERS, (6, 4, 5, 3, 3, 5, 1), strict=True))
_PRIORITIES = _weighted((1, 20), (0, 2), (2, 2), (3, 1))
MESSAGES = {
    1: "the training process ended with an error",
    137: "the container was killed: out of memory",
    139: "segmentation fault",
    134: "aborted",
    127: "command not found",
    255: "the launcher failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The properties of a random job."""

    api: Api
    pool: str
    flavor: Flavor
    nodes: int
    name: str
    user: str
    second_workspace: bool
    engine: Engine
    kind: str
    roles: tuple[Role, ...]
    priority: int
    new_version: bool
    """v1: submit it as another version of an existing job, if there is one."""


def draft(rng: random.Random, *, v1_share: float, capacity: dict[tuple[str, str], int]) -> Draft:
    """Draw a job. `capacity` is the number of nodes by (pool, accelerator): no job needs more than half of them."""
    api: Api = "v1" if rng.random() < v1_share else "v2"
    pool, accelerator = rng.choice(_PLACES[api])
    nodes, cards = rng.choice(_SIZES)
    if accelerator == "cpu":
        nodes, cards = rng.choice((1, 1, 1, 2)), 0
    nodes = min(nodes, max(1, capacity[pool, accelerator] // 2))
    spec = flavor(accelerator, cards, public=not pool, model="nvidia-a100-nv80" if pool == GPU_POOL else None)
    hetero = api == "v2" and accelerator != "cpu" and not pool and nodes == 1 and rng.random() < 0.08  # noqa: PLR2004
    roles: tuple[Role, ...] = ()
    if hetero:
        roles = (
            Role(name="learner", nodes=1, flavor=spec),
            Role(name="actor", nodes=1, flavor=flavor(accelerator, 1)),
        )
    model = rng.choice(_MODELS)
    return Draft(
        api=api,
        pool=pool,
        flavor=spec,
        nodes=2 if hetero else nodes,
        name=f"{model}-{rng.getrandbits(24):06x}",
        user=rng.choice(_WEIGHTED_USERS),
        second_workspace=rng.random() < 0.25,  # noqa: PLR2004
        engine=rng.choice(ENGINES),
        kind=_kind(rng, hetero=hetero, trains=api == "v2" and accelerator != "cpu"),
        roles=roles,
        priority=rng.choice(_PRIORITIES),
        new_version=rng.random() < 0.3,  # noqa: PLR2004
    )


def _kind(rng: random.Random, *, hetero: bool, trains: bool) -> str:
    if hetero:
        return "hetero_job"
    return FINE_TUNING if trains and rng.random() < 0.1 else "job"  # noqa: PLR2004


def draw_run_s(rng: random.Random) -> float:
    """Draw the run time: mostly half an hour to a few hours, at least four minutes, at most three days."""
    return min(3 * 86_400, max(240.0, rng.lognormvariate(8.3, 1.05)))


def draw_outcome(rng: random.Random) -> JobState:
    """Draw the final state."""
    return rng.choice(_OUTCOMES)


def draw_exit_code(rng: random.Random) -> int:
    """Draw the exit code of the first failing task."""
    return rng.choice(_EXIT_CODES)


def draw_script(rng: random.Random, *, nodes: int, api: Api, pace: float, hetero: bool = False) -> JobScript:
    """Draw the script of a job. All durations are divided by `pace`."""
    end = draw_outcome(rng)
    run_s = draw_run_s(rng)
    if end is JobState.FAILED and rng.random() < 0.5:  # noqa: PLR2004 -- half the failures come early
        run_s = min(run_s, 60.0 + rng.expovariate(1 / 240))
    incidents: list[Incident] = []
    if api == "v2" and rng.random() < 0.2:  # noqa: PLR2004 -- one run in five has a fault
        incidents += [_recovery(rng, run_s) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    if nodes > 1 and not hetero and rng.random() < 0.25:  # noqa: PLR2004 -- elastic jobs
        incidents += [
            Incident(after_s=run_s * rng.uniform(0.2, 0.4), kind="scale", nodes=nodes - 1, gap_s=45.0),
            Incident(after_s=run_s * rng.uniform(0.55, 0.8), kind="scale", nodes=nodes, gap_s=45.0),
        ]
    return JobScript(
        create_s=rng.uniform(5, 45) / pace,
        pull_s=rng.uniform(15, 120) / pace,
        run_s=run_s / pace,
        outcome=end,
        stop_s=rng.uniform(10, 90) / pace,
        cancel_after_s=rng.uniform(600, 7_200) / pace if rng.random() < 0.05 else None,  # noqa: PLR2004
        exit_code=draw_exit_code(rng),
        incidents=tuple(_shortened(incident, pace) for incident in sorted(incidents, key=lambda each: each.after_s)),
        delete_after_s=rng.uniform(600, 86_400) / pace if rng.random() < 0.05 else None,  # noqa: PLR2004
    )


def _recovery(rng: random.Random, run_s: float) -> Incident:
    policy = rng.choice(_POLICIES)
    if policy == _IN_PLACE:
        return Incident(
            after_s=run_s * rng.uniform(0.1, 0.9),
            kind="heal",
            policy=policy,
            scenario="chip_fault",
            gap_s=rng.uniform(2, 20),
        )
    degraded = policy in {"pod_reschedule", "job_reschedule"} and rng.random() < 0.3  # noqa: PLR2004
    return Incident(
        after_s=run_s * rng.uniform(0.1, 0.9),
        kind="recover",
        policy=policy,
        scenario=rng.choice(_SCENARIOS),
        gap_s=rng.uniform(30, 240),
        tried="proc_restart" if degraded else "",
    )


def _shortened(incident: Incident, pace: float) -> Incident:
    return Incident(
        after_s=incident.after_s / pace,
        kind=incident.kind,
        nodes=incident.nodes,
        policy=incident.policy,
        scenario=incident.scenario,
        gap_s=incident.gap_s / pace,
        tried=incident.tried,
    )
