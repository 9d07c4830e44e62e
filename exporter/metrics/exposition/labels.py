"""Identity labels: they name the subject of a sample. The renderer writes them before the labels of the family."""

from exporter.metrics.exposition.family import Label

PROJECT = Label(name="project", help="The target's `project` in the settings.")
JOB_ID = Label(name="job_id", help="v2: UUID of the job. v1: the version id, because each version runs separately.")
POOL_ID = Label(
    name="pool_id", help="Id of the dedicated pool, equal to `pool_id` of its jobs; never the public pool."
)

IDENTITY_LABELS: dict[str, tuple[Label, ...]] = {
    "job": (PROJECT, JOB_ID),
    "project": (PROJECT,),
    "pool": (PROJECT, POOL_ID),
    "exporter": (),
}
"""Identity labels by `Family.subject`."""
