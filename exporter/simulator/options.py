"""What kind of world to simulate, and the credentials that it takes."""

from dataclasses import dataclass

ACCESS_KEY = "SIMULATEDACCESSKEY01"
"""Permanent access key that the simulator knows. All credentials here are invented and open no door anywhere."""
SECRET_KEY = "SimulatedSecretKeySimulatedSecretKey0001"  # noqa: S105 -- invented, and documented
"""Secret key that belongs to ACCESS_KEY."""
DOMAIN = "OTC-EU-DE-SIMULATED"
"""Account (domain) name for password credentials."""
USER = "exporter"
"""User name for password credentials."""
PASSWORD = "simulated-password"  # noqa: S105 -- invented, and documented
"""Password that belongs to USER."""
POD_IDENTITY_TOKEN = "simulated-pod-identity-token"  # noqa: S105 -- invented, and documented
"""What the pod-identity route wants in its Authorization header."""
PROJECT_ID = "51a70000000000000000000000000001"
"""Id of the project there is unless Options.projects says otherwise."""
PROJECT_NAME = "eu-de_simulated"
"""Its name."""
SECOND_WORKSPACE = "5ec0d000000000000000000000000001"
"""Id of the workspace there is beside the default one, "0"."""
SECRET_MARKER = "DO-NOT-LEAK-5ec7e7"  # noqa: S105 -- the opposite of a secret
"""Part of every secret that the answers carry (parameters, environments, commands, endpoint tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOptions:
    """One project (tenant) of the simulated cloud: its own jobs, pools and queues."""

    id: str = PROJECT_ID
    """32 hexadecimal digits, the {project_id} of every path."""
    name: str = PROJECT_NAME
    workspaces: tuple[tuple[str, str], ...] = (("0", "default"), (SECOND_WORKSPACE, "research"))
    """(id, name) pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What kind of world to simulate. Same options and same clock, same world."""

    jobs: int = 40
    """About how many unfinished jobs each project has at any time."""
    history: int = 200
    """How many finished jobs each project has at the start, the oldest 90 days old."""
    seed: int = 1
    """Seed of everything random."""
    speed: float = 1.0
    """How fast the world's time runs against the clock. Authentication stays in the clock's own time."""
    pace: float = 1.0
    """How much shorter than in life everything takes: at 60 an hour's job runs a minute, by a clock that tells the
    right time. Shorter jobs have fewer minutes of usage; `speed` keeps those, but its times run into the future."""
    quirks: frozenset[str] = frozenset()
    """Names from the QUIRKS registry; an unknown one is refused with ValueError."""
    start_at: float | None = None
    """The world's time at the start, in seconds since the epoch. None: the clock's."""
    projects: tuple[ProjectOptions, ...] = (ProjectOptions(),)
    arrivals: float | None = None
    """New jobs an hour and project. None: as many as keep `jobs` of them unfinished; 0: none ever."""
    v1_share: float = 0.3
    """Which part of the jobs is of the old generation, 0-1."""
    token_lifetime_s: float = 86_400.0
    """How long an IAM token is valid."""
    temporary_lifetime_s: float = 3_600.0
    """How long the temporary keys of the metadata and pod-identity routes are valid."""
    forget_after_s: float | None = None
    """Finished jobs are deleted this long after their end, so that a long soak does not grow. None: never."""
    breakdowns: float = 0.0
    """How many nodes of dedicated pools break by themselves, an hour and project; each is mended within half an hour
    or so. `pace` makes both quicker."""
    empty: bool = False
    """No jobs, no history, no arrivals: a world to be filled by hand."""
