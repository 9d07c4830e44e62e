"""The settings, in exactly the shape of the YAML file; each field says what it means, its unit, and why its default.

Durations are `Duration`, a float of seconds; their attribute names end in `_s`, their keys do not.
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
"""Labels of `modelarts_training_job_info` that may be copied on to other series."""


def _must(sentence: str) -> dict[str, object]:
    return {"must": sentence}


def _environment(*names: str) -> Meta:
    return Meta(extra={"environment": names})


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of the file: its keys are fixed, an unknown one is a mistake."""


class AkSk(Section, frozen=True, kw_only=True, tag_field="type", tag="aksk"):
    """A key pair that signs each request (SDK-HMAC-SHA256): no token to renew, nothing secret on the wire."""

    access_key: Annotated[Secret, _environment("HUAWEICLOUD_SDK_AK")]
    """The access key's id (AK). The pair is taken whole from one place: the environment is asked only when the file
    gives neither key, because halves of two pairs make signatures that lock the key out."""
    secret_key: Annotated[Secret, _environment("HUAWEICLOUD_SDK_SK")]
    """The secret key (SK)."""
    security_token: Annotated[Secret | None, _environment("HUAWEICLOUD_SDK_SECURITY_TOKEN")] = None
    """The token that must travel with a temporary key pair. None, because permanent pairs have none."""


class Password(Section, frozen=True, kw_only=True, tag_field="type", tag="password"):
    """An IAM user whose name and password buy a token that lasts a day."""

    username: Annotated[Secret, _environment("OS_USERNAME")]
    """The IAM user's name. Read again with the password, so that both may be rotated together."""
    password: Annotated[Secret, _environment("OS_PASSWORD")]
    """The IAM user's password."""
    domain_name: Annotated[Secret, _environment("OS_USER_DOMAIN_NAME", "OS_DOMAIN_NAME")]
    """The account the user belongs to, such as OTC-EU-DE-00000000001000000000."""


class Metadata(Section, frozen=True, kw_only=True, tag_field="type", tag="metadata"):
    """The agency of the node it runs on, asked from the node's metadata service: no secret in the settings at all."""


class PodIdentity(Section, frozen=True, kw_only=True, tag_field="type", tag="pod_identity"):
    """The identity that CCE mounts into the pod, found by its own environment variables."""


Credentials = AkSk | Password | Metadata | PodIdentity


class Filters(Section, frozen=True, kw_only=True):
    """Which jobs get series of their own. Aggregates still count the others, so that no sum is silently short."""

    names: Regex = Regex(".*")
    """Job names to show: a regular expression in Python's syntax that must match the whole name.
    Every name, because a job nobody sees is worse than a series too many."""
    exclude_names: Regex | None = None
    """Job names to hide, matched as `names` and stronger than it. Empty: hides none, for the same reason."""
    pools: tuple[str, ...] = ()
    """Ids of the dedicated pools to show; "" stands for the public pool. Empty: all of them."""
    users: tuple[str, ...] = ()
    """Names of the users whose jobs to show. Empty: all of them."""

    def shows(self, *, name: str, pool_id: str, user: str) -> bool:
        """Whether a job gets series of its own."""
        return (
            self.names.matches(name)
            and not (self.exclude_names and self.exclude_names.matches(name))
            and (not self.pools or pool_id in self.pools)
            and (not self.users or user in self.users)
        )


class RateLimit(Section, frozen=True, kw_only=True):
    """How hard one target's API may be asked, retries and token renewals included."""

    requests_per_second: Annotated[float, Meta(gt=0)] = 5.0
    """Calls a second in the long run. 5 leaves most of the account's quota, which people and pipelines share,
    and with the defaults below is still enough to read some 240 tasks in each usage poll."""
    burst: Annotated[int, Meta(ge=1)] = 10
    """Calls that may be made at once after a pause. 10 lets a poll of a mid-sized project start without waiting."""
    concurrency: Annotated[int, Meta(ge=1)] = 4
    """Calls under way at the same time. 4 hides the API's latency without opening a crowd of connections."""


class Tls(Section, frozen=True, kw_only=True):
    """How the API's certificate is checked."""

    ca_file: str = ""
    """PEM file of the authorities to trust instead of the system's, read at the start.
    Empty: the system's, because the public clouds need no other."""
    insecure_skip_verify: bool = False
    """True: any certificate is accepted, and whoever sits on the way can read tokens. Off, for that reason."""


class Target(Section, frozen=True, kw_only=True):
    """One project in one region: what is watched, how it is reached, and as whom."""

    project: Annotated[str, Meta(pattern=".", extra=_must("not be empty"))]
    """Value of the label `project` on every series of this target; must be unique. Free to choose,
    because dashboards and alerts outlive ids."""
    cloud: Literal["otc", "huaweicloud", ""] = ""
    """The cloud, which with `region` gives the two URLs below. Empty: none, then `endpoint` must be given."""
    region: Annotated[str, Meta(pattern=r"^([a-z0-9]+(-[a-z0-9]+)*)?$", extra=_must("be a region such as eu-de"))] = (
        ""
    )
    """The region's name, such as eu-de. Empty: unknown, then `endpoint` must be given."""
    project_id: Annotated[
        str, Meta(pattern=r"^([0-9a-fA-F]{32})?$", extra=_must("be 32 hexadecimal digits, in quotes"))
    ] = ""
    """The project's id: 32 hexadecimal digits. Quote it, since one of digits only is a number to YAML.
    Empty: `project_name` is used; with neither and a single target HUAWEICLOUD_SDK_PROJECT_ID or OS_PROJECT_ID."""
    project_name: str = ""
    """The project's name, such as eu-de_vision, instead of `project_id` where the credentials are a password:
    the token then tells the id. Empty: `project_id` is used, then OS_PROJECT_NAME of the environment."""
    endpoint: str = ""
    """URL of the ModelArts API, scheme and host only; https, except to this machine itself.
    Empty: the one that `cloud` and `region` have."""
    iam_endpoint: str = ""
    """URL of IAM, where passwords buy tokens, under the same rules.
    Empty: the one that `cloud` and `region` have; without these it is needed for a password only."""
    api: Literal["auto", "v1", "v2", "both"] = "auto"
    """The API generations to ask. `auto` probes both, and asks again every hour, because which of them a region
    answers is not documented and changes."""
    workspaces: Literal["all"] | Annotated[tuple[str, ...], Meta(min_length=1)] = "all"
    """Ids of the workspaces to list, or `all`. All of them, because a forgotten one would hide jobs."""
    credentials: Credentials
    """As whom to ask; `type` chooses the kind."""
    filters: Filters = field(default_factory=Filters)
    """Which jobs get series of their own."""
    rate_limit: RateLimit = field(default_factory=RateLimit)
    """How hard this target's API may be asked."""
    tls: Tls = field(default_factory=Tls)
    """How the API's certificate is checked."""
    proxy: Secret | None = None
    """URL of the HTTP proxy to reach the API through; it may hold a user and a password.
    Empty: none. The environment's proxy variables are not consulted, so that nothing outside this file redirects
    credentials."""


class Collection(Section, frozen=True, kw_only=True):
    """When the cloud is asked, and how long its answers count."""

    jobs_interval_s: AtLeastOneSecond = field(name="jobs_interval", default=Duration(30))
    """How often each target's jobs are asked for. 30s: two looks at every minute, at some three calls each."""
    usage_interval_s: AtLeastOneSecond = field(name="usage_interval", default=Duration(60))
    """How often the usage of each running task is asked for. 60s, because the cloud samples once a minute."""
    pools_interval_s: AtLeastOneSecond = field(name="pools_interval", default=Duration(60))
    """How often the pools are asked for. 60s, because nodes come and go in minutes."""
    sweep_interval_s: AtLeastOneSecond = field(name="sweep_interval", default=Duration(6 * 3600))
    """How often the whole listing is walked, to notice deleted jobs. 6h: it is the one call whose cost grows with
    history, and a deleted job that lingers misleads nobody for long."""
    stale_after_s: AtLeastOneSecond = field(name="stale_after", default=Duration(300))
    """For how long the last good answer is shown while polls fail; then the project's job series are withdrawn.
    At least `jobs_interval` and `timeout` together, or one slow poll would withdraw series that are still good.
    5m: as long as Prometheus itself would carry a missing sample on."""
    retention_s: AtLeastOneSecond = field(name="retention", default=Duration(24 * 3600))
    """For how long a finished job keeps its series; at least `jobs_interval`, or no scrape might see its end.
    24h: whoever comes in the morning still sees what failed at night."""
    timeout_s: AtLeastOneSecond = field(name="timeout", default=Duration(30))
    """The deadline of one poll, connecting, waiting for the rate limit and reading the body included. It may exceed
    the intervals: a poll that overruns delays the next and never overlaps it. A usage poll may take a whole
    `usage_interval` where that is longer, for every running task is a call. 30s, one `jobs_interval`."""


class Metrics(Section, frozen=True, kw_only=True):
    """What is exported, and how much of it."""

    max_series_per_project: Annotated[int, Meta(ge=1000)] = 100_000
    """The most series one project may have; beyond it whole jobs are left out and counted in
    modelarts_exporter_series_dropped_total. 100000 is thousands of jobs, and what one Prometheus takes with ease."""
    per_task: bool = False
    """True: usage series for each task beside the job's means. Off, because tasks multiply series by the nodes of a
    job, and the slowest task has its own series anyway."""
    job_labels: tuple[JobLabel, ...] = ()
    """Labels of modelarts_training_job_info to copy on to every series of a job, for people who dislike joins.
    None, because a label that changes starts a new series."""
    user_label: Literal["keep", "hash", "drop"] = "keep"
    """What becomes of user names: kept, replaced by a hash that still tells users apart, or left out.
    Kept, because who holds what is one of the questions this program answers."""
    idle_threshold_ratio: Annotated[float, Meta(ge=0, le=1)] = field(name="idle_threshold", default=0.05)
    """Mean accelerator utilisation, a ratio from 0 to 1, below which a job counts as idle.
    0.05: above what drivers and monitoring cause, below what any training does."""
    idle_grace_s: Annotated[Duration, Meta(extra={"at_least_s": 0.0})] = field(
        name="idle_grace", default=Duration(600)
    )
    """For how long accelerators must idle at a stretch before it counts as
    modelarts_training_idle_accelerator_seconds_total; then all of the stretch does. 10m: loading data, saving a
    checkpoint and evaluating are work."""
    hang_after_s: AtLeastOneSecond = field(name="hang_after", default=Duration(1800))
    """For how long nothing the cloud samples of a job may stand still before a hang is suspected.
    30m: no step of a training run takes so long without moving anything, and a night is too long to wait."""
    max_users_per_project: Annotated[int, Meta(ge=1)] = 100
    """How many users of a project have accelerator seconds of their own: whoever comes first. The others are counted
    together as `_other`. 100 is a large team, and three series for each user, pool and kind of accelerator."""


class Price(Section, frozen=True, kw_only=True):
    """What one accelerator costs for one hour, by the flavor of the nodes or by the accelerator's model."""

    flavor: str = ""
    """Flavor code, as modelarts_training_job_info tells it; stronger than a model. Empty: `accelerator_model` is
    given."""
    accelerator_model: str = ""
    """Product name of the accelerator, likewise. Empty: `flavor` is given."""
    price: Annotated[float, Meta(ge=0)]
    """Price of one accelerator for one hour, in the currency of the list."""


class Prices(Section, frozen=True, kw_only=True):
    """An optional price list, exported as modelarts_accelerator_price, from which recording rules make costs."""

    currency: Annotated[str, Meta(pattern=r"^([A-Z]{3})?$", extra=_must("be a currency such as EUR"))] = ""
    """ISO 4217 code of the currency, such as EUR. Empty: there is no price list."""
    accelerator_hour: tuple[Price, ...] = ()
    """The prices. None, because a contract's prices are nobody else's business."""


class StateSettings(Section, frozen=True, kw_only=True):
    """What outlives the process."""

    file: str = ""
    """File in which counters survive a restart. Empty: they start at zero, which Prometheus' rate() copes with,
    but jobs that end while the exporter is down are then counted nowhere."""


class Settings(Section, frozen=True, kw_only=True):
    """The whole file, checked: URLs are filled in from the presets, and every secret could be read at the start."""

    targets: Annotated[tuple[Target, ...], Meta(min_length=1)]
    """What is watched: one or more projects, each in one region."""
    collection: Collection = field(default_factory=Collection)
    """When the cloud is asked, and how long its answers count."""
    metrics: Metrics = field(default_factory=Metrics)
    """What is exported, and how much of it."""
    prices: Prices = field(default_factory=Prices)
    """What accelerators cost."""
    state: StateSettings = field(default_factory=StateSettings)
    """What outlives the process."""
