"""A v2 API in memory that returns the bytes of realistic pages, so that only the exporter is measured."""

import json
import random
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.v2.endpoints import METRICS, SEARCH

Answer = TypeVar("Answer")

_SERIES = ("cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "npuMemUsage")


def row(number: int, *, ran_s: int) -> bytes:
    """Return a running job of two nodes, with the fields that the exporter does not read."""
    return json.dumps(
        {
            "kind": "job",
            "metadata": {
                "id": f"6f1f0c1e-0b55-4f0e-9a1a-{number:012x}",
                "name": f"resnet-sweep-{number}",
                "description": "",
                "create_time": (1_700_000_000 + number) * 1000,
                "workspace_id": "0",
                "ai_project": "default-ai-project",
                "user_name": f"user-{number % 40}",
                "annotations": {"job_template": "Template DL", "key_task": "worker"},
            },
            "status": {
                "phase": "Running",
                "secondary_phase": "Running",
                "duration": ran_s * 1000,
                "start_time": (1_700_000_120 + number) * 1000,
                "node_count_metrics": [[1_700_000_110_000, 0], [1_700_000_120_000 + ran_s * 1000, 2]],
                "tasks": ["worker-0", "worker-1"],
            },
            "algorithm": {
                "code_dir": "obs://vision/code/",
                "boot_file": "obs://vision/code/train.py",
                "parameters": [
                    {"name": name, "value": "0.001", "constraint": {"type": "String", "sensitive": False}}
                    for name in ("lr", "batch", "epochs", "warmup")
                ],
                "environments": {"LOG_LEVEL": "info", "NCCL_DEBUG": "warn"},
                "command": "python train.py --epochs 90",
                "engine": {
                    "engine_id": "pytorch_1.8",
                    "engine_name": "PyTorch",
                    "engine_version": "pytorch_1.8.0-cuda_10.2-py_3.7",
                    "image_url": "",
                },
                "inputs": [],
                "outputs": [{"name": "train_url", "period": 30}],
            },
            "spec": {
                "resource": {
                    "policy": "regular",
                    "flavor_id": "modelarts.vm.gpu.v100.8",
                    "flavor_name": "GPU: 8*V100",
                    "node_count": 2,
                    "pool_id": f"pool-{number % 8}",
                    "flavor_detail": {
                        "flavor_type": "GPU",
                        "billing": {"code": "modelarts.vm.gpu.v100.8", "unit_num": 1},
                        "flavor_info": {
                            "max_num": 4,
                            "cpu": {"arch": "x86", "core_num": 64},
                            "gpu": {"unit_num": 8, "product_name": "GP-Vnt1", "memory": "32GB"},
                            "memory": {"size": 512, "unit": "GB"},
                            "disk": {"size": 500, "unit": "GB"},
                        },
                    },
                },
                "log_export_path": {},
            },
        }
    ).encode()


def metrics(rng: random.Random, *, minutes: int) -> bytes:
    """Return the usage of one task by minute; all values of the NPU series of a GPU task are -1."""
    return json.dumps(
        {
            "metrics": [
                {
                    "metric": name,
                    "value": [
                        -1 if name.startswith("npu") else round(rng.uniform(0, 100), 2) for _ in range(minutes)
                    ],
                }
                for name in _SERIES
            ]
        }
    ).encode()


class Pages:
    """`jobs` running jobs, newest first, and one hour of usage for each task."""

    def __init__(self, jobs: int) -> None:
        self._count = jobs
        self._rng = random.Random(1)  # noqa: S311 - seeded, so that runs are repeatable
        self._ran_s = 0
        self._readings: list[bytes] = []
        self.advance()

    def advance(self) -> None:
        """Let every job run for 30 s more, with new readings for every task."""
        self._ran_s += 30
        self._rows = [row(number, ran_s=self._ran_s) for number in reversed(range(self._count))]
        self._readings = [metrics(self._rng, minutes=60) for _ in range(100)]

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer | None:
        """Decode the response of the API, as the client does."""
        del query
        return msgspec.json.decode(self.response(endpoint.name, path or {}, body), type=endpoint.answer)

    def response(self, name: str, path: Mapping[str, str], body: Any) -> bytes:
        """Return the body of the response to the named call."""
        if name == METRICS.name:
            return self._readings[hash(path["job_id"]) % len(self._readings)]
        if name == SEARCH.name:
            begin = body["offset"] * body["limit"]
            page = b",".join(self._rows[begin : begin + body["limit"]])
            return b'{"total":%d,"items":[%s]}' % (self._count, page)
        raise NotImplementedError(name)
