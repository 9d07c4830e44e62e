"""Settings: one YAML file, validated completely before the start. Imports no other package of the exporter."""

from exporter.settings.duration import Duration
from exporter.settings.load import load
from exporter.settings.model import (
    AkSk,
    Collection,
    Credentials,
    Filters,
    JobLabel,
    Metadata,
    Metrics,
    Password,
    PodIdentity,
    Price,
    Prices,
    RateLimit,
    Settings,
    StateSettings,
    Target,
    Tls,
)
from exporter.settings.problems import SettingsError
from exporter.settings.regex import Regex
from exporter.settings.rules import POD_TOKEN_FILE, POD_URL
from exporter.settings.secret import Secret, SecretFile, SecretUnreadable

__all__ = [
    "POD_TOKEN_FILE",
    "POD_URL",
    "AkSk",
    "Collection",
    "Credentials",
    "Duration",
    "Filters",
    "JobLabel",
    "Metadata",
    "Metrics",
    "Password",
    "PodIdentity",
    "Price",
    "Prices",
    "RateLimit",
    "Regex",
    "Secret",
    "SecretFile",
    "SecretUnreadable",
    "Settings",
    "SettingsError",
    "StateSettings",
    "Target",
    "Tls",
    "load",
]
