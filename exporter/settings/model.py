"""The settings, in the structure of the YAML file. Each docstring states meaning, unit and reason for the default.

Durations are `Duration`, a float of seconds. Their attribute names end in `_s`, their keys do not.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from exporter.settings.duration import Duration
from exporter.settings.regex import Regex
from exporter.settings.secret import Secret

AtLeastOneSecond = Annotated[Duration, Meta(extra={"at_least_s": 1.0})]

JobLabel = Literal[
    "job_name",
    "version",
    "user",
    "workspace_id",
    "pool_id",
    "flavor",
    "accelerator",
    "accelerator_model",
    "engine",
    "api",
    "kind",
]
"""Labels of `modelarts_training_job_info` that can be copied to other series."""


def _must(sentence: str) -> dict[str, object]:
    return {"must": sentence}


def _environment(*names: str) -> Meta:
    return Meta(extra={"environment": names})


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping with fixed keys; an unknown key is a problem."""


class AkSk(Section, frozen=True, kw_only=True, tag_field="type", tag="aksk"):
    """A key pair that signs each request (SDK-HMAC-SHA256). No token has to be renewed, and no secret is sent."""

    access_key: Annotated[Secret, _environment("HUAWEICLOUD_SDK_AK")]
    """The access key id (AK). Both keys come from one place: the environment is used only if the file has neither,
    because keys of two different pairs make invalid signatures, and those lock the key."""
    secret_key: Annotated[Secret, _environment("HUAWEICLOUD_SDK_SK")]
    """The secret key (SK)."""
    security_token: Annotated[Secret | None, _environment("HUAWEICLOUD_SDK_SECURITY_TOKEN")] = None
    """The token that must be sent with a temporary key pair. None, because permanent pairs have no token."""


class Password(Section, frozen=True, kw_only=True, tag_field="type", tag="password"):
    """An IAM user. Name and password are exchanged for a token that is valid for 24 hours."""

    username: Annotated[Secret, _environment("OS_USERNAME")]
    """The IAM user's name. Read again together with the password, so that both can be rotated at once."""
    password: Annotated[Secret, _environment("OS_PASSWORD")]
    """The IAM user's password."""
    domain_name: Annotated[Secret, _environment("OS_USER_DOMAIN_NAME", "OS_DOMAIN_NAME")]
    """The account the user belongs to, such as OTC-EU-DE-00000000001000000000."""


class Metadata(Section, frozen=True, kw_only=True, tag_field="type", tag="metadata"):
    """Temporary keys of the node's agency, from the node's metadata service. The settings contain no secret."""


class PodIdentity(Section, frozen=True, kw_only=True, tag_field="type", tag="pod_identity"):
    """The identity that CCE provides to the pod through environment variables."""


Credentials = AkSk | Password | Metadata | PodIdentity


class Filters(Section, frozen=True, kw_only=True):
    """Which jobs get series of their own. Aggregates count all jobs, so that no sum is too small."""

    names: Regex = Regex(".*")
    """Job names to show: a regular expression in Python's syntax that must match the whole name.
    All names, because a missing job is worse than an additional series."""
    exclude_names: Regex | None = None
    """Job names to hide, matched like `names`. Overrides `names`. Empty: none, for the same reason."""
    pools: tuple[str, ...] = ()
    """Ids of the dedicated pools to show; "" is the public pool. Empty: all pools."""
    users: tuple[str, ...] = ()
    """Names of the users whose jobs to show. Empty: all users."""

    def shows(self, *, name: str, pool_id: str, user: str) -> bool:
        """Whether a job gets series of its own."""
        return (
            self.names.matches(name)
            and not (self.exclude_names and self.exclude_names.matches(name))
            and (not self.pools or pool_id in self.pools)
            and (not self.users or user in self.users)
        )


class RateLimit(Section, frozen=True, kw_only=True):
    """Limits of the calls to one target's API, including retries and token renewals."""

    requests_per_second: Annotated[float, Meta(gt=0)] = 5.0
    """Average calls per second. 5 leaves most of the account's quota, which users and pipelines share, and is enough
    to read some 240 tasks in each usage poll with the other defaults."""
    burst: Annotated[int, Meta(ge=1)] = 10
    """Calls that may be made at once after a pause. 10 lets a poll of a medium project start without waiting."""
    concurrency: Annotated[int, Meta(ge=1)] = 4
    """Concurrent calls. 4 hides the API's latency with few connections."""


class Tls(Section, frozen=True, kw_only=True):
    """How the API's certificate is verified."""

    ca_file: str = ""
    """PEM file of the CAs to trust instead of the system's, read at the start.
    Empty: the system's CAs, because the public clouds need no others."""
    insecure_skip_verify: bool = False
    """True: every certificate is accepted. False, because an attacker in the network could read tokens."""


class Target(Section, frozen=True, kw_only=True):
    """One project in one region: what is monitored, its API URLs and its credentials."""

    project: Annotated[str, Meta(pattern=".", extra=_must("not be empty"))]
    """Value of the label `project` on every series of this target; must be unique. Any text, because dashboards and
    alerts should not depend on ids."""
    cloud: Literal["otc", "huaweicloud", ""] = ""
    """The cloud. With `region` it determines the two URLs below. Empty: `endpoint` must be given."""
    region: Annotated[str, Meta(pattern=r"^([a-z0-9]+(-[a-z0-9]+)*)?$", extra=_must("be a region such as eu-de"))] = (
        ""
    )
    """The region's name, such as eu-de. Empty: `endpoint` must be given."""
    project_id: Annotated[
        str, Meta(pattern=r"^([0-9a-fA-F]{32})?$", extra=_must("be 32 hexadecimal digits, in quotes"))
    ] = ""
    """The project's id: 32 hexadecimal digits. Quote it, because YAML reads an id of digits only as a number.
    Empty: `project_name` is used; with neither and one target, HUAWEICLOUD_SDK_PROJECT_ID or OS_PROJECT_ID."""
    project_name: str = ""
    """The project's name, such as eu-de_vision, instead of `project_id`. Works with password credentials only, whose
    token contains the id. Empty: `project_id` is used, then OS_PROJECT_NAME from the environment."""
    endpoint: str = ""
    """URL of the ModelArts API, scheme and host only; https, except for the local host.
    Empty: the URL for `cloud` and `region`."""
    iam_endpoint: str = ""
    """URL of IAM, which issues tokens for passwords; same rules as `endpoint`.
    Empty: the URL for `cloud` and `region`; without these, required for password credentials only."""
    api: Literal["auto", "v1", "v2", "both"] = "auto"
    """The API generations to use. `auto` probes both every hour, because it is not documented which of them a region
    supports, and this changes."""
    workspaces: Literal["all"] | Annotated[tuple[str, ...], Meta(min_length=1)] = "all"
    """Ids of the workspaces to list, or `all`. All, because jobs of a forgotten workspace would be missing."""
    credentials: Credentials
    """Credentials for the API; `type` selects the kind."""
    filters: Filters = field(default_factory=Filters)
    """Which jobs get series of their own."""
    rate_limit: RateLimit = field(default_factory=RateLimit)
    """Limits of the calls to this target's API."""
    tls: Tls = field(default_factory=Tls)
    """How the API's certificate is verified."""
    proxy: Secret | None = None
    """URL of the HTTP proxy for the API; it may contain a user and a password.
    Empty: none. Proxy variables of the environment are ignored, so that nothing outside this file redirects
    credentials."""


class Collection(Section, frozen=True, kw_only=True):
    """Polling intervals and deadlines, and how long data is kept."""

    jobs_interval_s: AtLeastOneSecond = field(name="jobs_interval", default=Duration(30))
    """How often each target's jobs are polled. 30s: twice a minute. A v2 poll takes ⌊active/50⌋ + 2 calls for each
    workspace, and one for each job that ended."""
    usage_interval_s: AtLeastOneSecond = field(name="usage_interval", default=Duration(60))
    """How often the usage of each running task is polled. 60s, because the cloud samples once a minute."""
    pools_interval_s: AtLeastOneSecond = field(name="pools_interval", default=Duration(60))
    """How often the pools are polled. 60s, because nodes are added and removed within minutes."""
    sweep_interval_s: AtLeastOneSecond = field(name="sweep_interval", default=Duration(6 * 3600))
    """How often the complete listing is read, to find deleted jobs. 6h, because only this call grows with the
    history, and a deleted job does little harm for a few hours."""
    stale_after_s: AtLeastOneSecond = field(name="stale_after", default=Duration(300))
    """How long the last data is exported while polls fail; then the project's job series are withdrawn.
    At least `jobs_interval` and `timeout` together, or one slow poll would withdraw current series.
    5m, the time for which Prometheus itself uses the last sample of a series."""
    retention_s: AtLeastOneSecond = field(name="retention", default=Duration(24 * 3600))
    """How long a finished job keeps its series; at least `jobs_interval`, or a job could end unseen by any scrape.
    24h, so that failures of the night are still visible in the morning."""
    timeout_s: AtLeastOneSecond = field(name="timeout", default=Duration(30))
    """The deadline of one poll, including connecting, waiting for the rate limit and reading responses. It may exceed
    the intervals: a long poll delays the next one, and polls never overlap. A usage poll may take up to
    `usage_interval` if that is longer, because each running task is a call. 30s, one `jobs_interval`."""


class Metrics(Section, frozen=True, kw_only=True):
    """Which series are exported, and their limits."""

    max_series_per_project: Annotated[int, Meta(ge=1000)] = 100_000
    """Maximum number of series per project. Above it, whole jobs are left out and counted in
    modelarts_exporter_series_dropped_total. 100000 is enough for thousands of jobs and easy for one Prometheus."""
    per_task: bool = False
    """True: usage series for each task in addition to the job's mean. False, because it multiplies the series by the
    nodes of a job, and the task with the lowest utilisation has its own series in any case."""
    job_labels: tuple[JobLabel, ...] = ()
    """Labels of modelarts_training_job_info to copy to every series of a job, so that queries need no join.
    None, because a label that changes starts a new series."""
    user_label: Literal["keep", "hash", "drop"] = "keep"
    """How user names are exported: unchanged, as a hash that is different for each user, or not at all.
    Unchanged, because the exporter is meant to show who uses accelerators."""
    idle_threshold_ratio: Annotated[float, Meta(ge=0, le=1)] = field(name="idle_threshold", default=0.05)
    """Mean accelerator utilisation, a ratio from 0 to 1, below which a job counts as idle.
    0.05: above the load of drivers and monitoring, below that of any training."""
    idle_grace_s: Annotated[Duration, Meta(extra={"at_least_s": 0.0})] = field(
        name="idle_grace", default=Duration(600)
    )
    """How long accelerators must be idle without interruption before the time counts in
    modelarts_training_idle_accelerator_seconds_total; then the whole period counts. 10m, because loading data, saving
    a checkpoint and evaluating are work."""
    hang_after_s: AtLeastOneSecond = field(name="hang_after", default=Duration(1800))
    """How long all sampled values of a job may stay unchanged before a hang is suspected.
    30m: no training step takes so long without any change, and a hang should be found within the same night."""
    max_users_per_project: Annotated[int, Meta(ge=1)] = 100
    """Number of users per project that have accelerator seconds of their own, in order of appearance. All others are
    counted together as `_other`. 100 is a large team; each user has three series per pool and kind of accelerator."""


class Price(Section, frozen=True, kw_only=True):
    """The price of one accelerator for one hour, by the flavor of the nodes or by the accelerator's model."""

    flavor: str = ""
    """Flavor code, as in modelarts_training_job_info. Takes precedence over a price by model. Empty:
    `accelerator_model` is given."""
    accelerator_model: str = ""
    """Product name of the accelerator, as in modelarts_training_job_info. Empty: `flavor` is given."""
    price: Annotated[float, Meta(ge=0)]
    """Price of one accelerator for one hour, in the currency of the list."""


class Prices(Section, frozen=True, kw_only=True):
    """An optional price list, exported as modelarts_accelerator_price. Recording rules compute costs from it."""

    currency: Annotated[str, Meta(pattern=r"^([A-Z]{3})?$", extra=_must("be a currency such as EUR"))] = ""
    """ISO 4217 code of the currency, such as EUR. Empty: there is no price list."""
    accelerator_hour: tuple[Price, ...] = ()
    """The prices. None, because prices differ by contract and are confidential."""


class StateSettings(Section, frozen=True, kw_only=True):
    """What is kept across restarts."""

    file: str = ""
    """File in which counters are kept across restarts. Empty: they start at zero, which Prometheus' rate() handles,
    but jobs that end while the exporter is down are not counted."""


class Settings(Section, frozen=True, kw_only=True):
    """The validated file: URLs are filled in from the presets, and every secret was readable at the start."""

    targets: Annotated[tuple[Target, ...], Meta(min_length=1)]
    """The projects to monitor, each in one region."""
    collection: Collection = field(default_factory=Collection)
    """Polling intervals and deadlines, and how long data is kept."""
    metrics: Metrics = field(default_factory=Metrics)
    """Which series are exported, and their limits."""
    prices: Prices = field(default_factory=Prices)
    """Prices of accelerators."""
    state: StateSettings = field(default_factory=StateSettings)
    """What is kept across restarts."""
