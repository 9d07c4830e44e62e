"""Options of the simulation, and the credentials that it accepts."""

from dataclasses import dataclass

ACCESS_KEY = "SIMULATEDACCESSKEY01"
"""Permanent access key. All credentials here are invented and are valid for the simulator only."""
SECRET_KEY = "SimulatedSecretKeySimulatedSecretKey0001"  # noqa: S105 -- invented, and documented
"""Secret key that belongs to ACCESS_KEY."""
DOMAIN = "OTC-EU-DE-SIMULATED"
"""Account (domain) name for password credentials."""
USER = "exporter"
"""User name for password credentials."""
PASSWORD = "simulated-password"  # noqa: S105 -- invented, and documented
"""Password that belongs to USER."""
POD_IDENTITY_TOKEN = "simulated-pod-identity-token"  # noqa: S105 -- invented, and documented
"""Authorization header of the pod-identity route."""
PROJECT_ID = "51a70000000000000000000000000001"
"""Id of the default project."""
PROJECT_NAME = "eu-de_simulated"
"""Name of the default project."""
SECOND_WORKSPACE = "5ec0d000000000000000000000000001"
"""Id of the second workspace; the default one is "0"."""
SECRET_MARKER = "DO-NOT-LEAK-5ec7e7"  # noqa: S105 -- the opposite of a secret
"""Part of every secret in the responses (parameters, environments, commands, endpoint tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOptions:
    """One project of the simulated cloud, with its own jobs, pools and queues."""

    id: str = PROJECT_ID
    """32 hexadecimal digits, the {project_id} of every path."""
    name: str = PROJECT_NAME
    workspaces: tuple[tuple[str, str], ...] = (("0", "default"), (SECOND_WORKSPACE, "research"))
    """(id, name) pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the simulation. The same options and the same clock give the same world."""

    jobs: int = 40
    """Approximate number of unfinished jobs in each project."""
    history: int = 200
    """Number of finished jobs in each project at the start, the oldest 90 days old."""
    seed: int = 1
    """Seed of all random draws."""
    speed: float = 1.0
    """Speed of the simulated time relative to the clock. Authentication uses the clock itself."""
    pace: float = 1.0
    """Divisor of all durations: at 60 a job of one hour runs one minute, with real times and one minute of usage.
    With `speed` it has 60 minutes of usage, but its times run into the future."""
    quirks: frozenset[str] = frozenset()
    """Names from the QUIRKS registry; an unknown one raises ValueError."""
    start_at: float | None = None
    """Simulated time at the start, in seconds since the epoch. None: the clock's time."""
    projects: tuple[ProjectOptions, ...] = (ProjectOptions(),)
    arrivals: float | None = None
    """New jobs per hour and project. None: as many as keep `jobs` of them unfinished; 0: none."""
    v1_share: float = 0.3
    """Fraction of v1 jobs, 0-1."""
    token_lifetime_s: float = 86_400.0
    """Lifetime of an IAM token."""
    temporary_lifetime_s: float = 3_600.0
    """Lifetime of the temporary keys of the metadata and pod-identity routes."""
    retention_s: float | None = None
    """Finished jobs are deleted this long after their end, so that a long test does not grow. None: never."""
    breakdowns: float = 0.0
    """Random node failures in dedicated pools per hour and project; a node is repaired after half an hour on average.
    `pace` shortens both intervals."""
    empty: bool = False
    """No jobs, no history, no arrivals: jobs are submitted manually."""
