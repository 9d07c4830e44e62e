"""The labels that say what a sample is about; the renderer puts them before a family's own labels."""

from exporter.metrics.exposition.family import Label

PROJECT = Label(name="project", help="The target's `project` in the settings.")
JOB_ID = Label(name="job_id", help="v2: the job's uuid. v1: the version id, because a version is what runs.")
POOL_ID = Label(name="pool_id", help="Dedicated pool, by the id that its jobs carry; never the public pool.")

IDENTITY: dict[str, tuple[Label, ...]] = {
    "job": (PROJECT, JOB_ID),
    "project": (PROJECT,),
    "pool": (PROJECT, POOL_ID),
    "exporter": (),
}
"""Identity labels by `Family.subject`."""
