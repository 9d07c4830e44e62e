"""The v1 training calls as the vendor's pages document them, typed in once as data.

The SDK has no model of them. Sources: "Querying the Statuses and GPU Quantity of All Job Versions" (Open Telekom
Cloud, 2022-04; API reference key S2) for the overview, "Querying a Training Job List" (API reference §2.2) for the
job list, "Querying the Job Version List" (Huawei Cloud, 2024-06; S0) for versions.
"""

from tests.contract.vendor_models import ListOf, Model, Open, Scalar

_LONG, _TEXT, _BOOLEAN = Scalar("int"), Scalar("str"), Scalar("bool")

_ENVELOPE = {"is_success": _BOOLEAN, "error_message": _TEXT, "error_code": _TEXT}

OVERVIEW_ROW = Model(
    {
        "version_id": _LONG,
        "version_name": _TEXT,
        "status": _LONG,
        "create_time": _LONG,
        "start_time": _LONG,
        "end_time": _LONG,
        "duration": _LONG,
        "version_desc": _TEXT,
        "pool_id": _TEXT,
        "flavor_code": _TEXT,
        "npu_num": _LONG,
        "gpu_num": _LONG,
    }
)

OVERVIEW = Model(
    {
        **_ENVELOPE,
        "total_count": _LONG,
        "offset": _LONG,  # the sample response only
        "limit": _LONG,  # the sample response only
        "versions": ListOf(OVERVIEW_ROW),
    }
)

JOB_ROW = Model(
    {
        "job_id": _LONG,
        "job_name": _TEXT,
        "version_id": _LONG,
        "status": _LONG,
        "create_time": _LONG,
        "duration": _LONG,
        "job_desc": _TEXT,
        "version_count": _LONG,
    }
)

JOB_LIST = Model(
    {
        **_ENVELOPE,
        "job_total_count": _LONG,
        "job_count_limit": _LONG,
        "quotas": _LONG,
        "jobs": ListOf(JOB_ROW),
    }
)

VERSION = Model(
    {
        "version_id": _LONG,
        "version_name": _TEXT,
        "pre_version_id": _LONG,
        "engine_type": _LONG,
        "engine_name": _TEXT,
        "engine_id": _LONG,
        "engine_version": _TEXT,
        "status": _LONG,
        "app_url": _TEXT,
        "boot_file_url": _TEXT,
        "create_time": _LONG,
        "parameter": ListOf(Model({"label": _TEXT, "value": _TEXT})),
        "duration": _LONG,
        "spec_id": _LONG,
        "core": _TEXT,
        "cpu": _TEXT,
        "gpu": _BOOLEAN,
        "gpu_num": _LONG,
        "gpu_type": _TEXT,
        "worker_server_num": _LONG,
        "data_url": _TEXT,
        "train_url": _TEXT,
        "log_url": _TEXT,
        "dataset_version_id": _TEXT,
        "dataset_id": _TEXT,
        "data_source": ListOf(
            Model({"dataset_id": _TEXT, "dataset_version": _TEXT, "type": _TEXT, "data_url": _TEXT})
        ),
        "model_id": _LONG,
        "model_metric_list": _TEXT,
        "system_metric_list": _TEXT,
        "user_image_url": _TEXT,
        "user_command": _TEXT,
        "resource_id": _TEXT,
        "dataset_name": _TEXT,
        "start_time": _LONG,
        "volumes": ListOf(Model({"nfs": Open(), "host_path": Open()})),
        "dataset_version_name": _TEXT,
        "pool_name": _TEXT,
        "pool_id": _TEXT,
        "nas_mount_path": _TEXT,
        "nas_share_addr": _TEXT,
        "nas_type": _TEXT,
    }
)

_JOB = {"job_id": _LONG, "job_name": _TEXT, "job_desc": _TEXT}

VERSIONS = Model({**_ENVELOPE, **_JOB, "version_count": _LONG, "versions": ListOf(VERSION)})

DETAIL = Model({**_ENVELOPE, **_JOB, **VERSION.fields})
