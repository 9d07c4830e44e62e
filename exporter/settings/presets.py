"""URLs of ModelArts and IAM by cloud and region (API reference §10)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of one region, without a trailing slash."""

    modelarts: str
    iam: str


_PATTERNS = {
    "otc": Endpoints("https://modelarts.{}.otc.t-systems.com", "https://iam.{}.otc.t-systems.com"),
    "huaweicloud": Endpoints("https://modelarts.{}.myhuaweicloud.com", "https://iam.{}.myhuaweicloud.com"),
}
_REGION_OVERRIDES = {
    ("otc", "eu-ch2"): Endpoints(  # the Swiss cloud; derived from its naming pattern, not verified for ModelArts
        "https://modelarts.{}.sc.otc.t-systems.com", "https://iam-pub.{}.sc.otc.t-systems.com"
    ),
    ("huaweicloud", "eu-west-101"): Endpoints(  # the European cloud has its own domain
        "https://modelarts.{}.myhuaweicloud.eu", "https://iam.{}.myhuaweicloud.eu"
    ),
}


def preset(cloud: str, region: str) -> Endpoints | None:
    """Return the URLs of a region; None if the cloud or the region is not given.

    Unknown regions follow their cloud's pattern, because new regions appear faster than this table changes.
    """
    if not region or cloud not in _PATTERNS:
        return None
    pattern = _REGION_OVERRIDES.get((cloud, region), _PATTERNS[cloud])
    return Endpoints(pattern.modelarts.format(region), pattern.iam.format(region))
