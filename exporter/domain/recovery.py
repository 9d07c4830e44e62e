"""Bounded words for faults and recoveries of v2 jobs (API reference §7)."""

OTHER = "other"
"""Replaces every undocumented value, so that label values stay bounded."""

POLICIES = (
    "npu_proc_restart",
    "gpu_proc_restart",
    "proc_restart",
    "pod_reschedule",
    "job_reschedule",
    "job_reschedule_with_taint",
    "npu_step_retry",
    OTHER,
)
"""What was restarted or rescheduled."""

SCENARIOS = ("chip_fault", "node_fault", "job_failed", "job_hanged", "job_subhealth", "error_in_log", OTHER)
"""What failed."""

RECOVERING = "recovering"
"""The recovery has not ended. A job that ended meanwhile keeps this result."""

SUCCESS = "success"

DOWNGRADE = "downgrade"
"""The policy did not suffice, and another one was used."""

RESULTS = (SUCCESS, "failed", DOWNGRADE, "terminated", "quota_exceeded", RECOVERING, OTHER)
"""How a recovery ended."""

BUCKETS_S = (10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0)
"""Upper bounds of recovery times: from the retry of a step to a job that waits for a new node."""
