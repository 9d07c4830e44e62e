"""Prometheus exporter for ModelArts training jobs on Huawei Cloud and Open Telekom Cloud."""

__version__ = "0.1.0"
