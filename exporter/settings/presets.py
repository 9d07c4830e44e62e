"""Where the clouds keep ModelArts and IAM, by region (API reference §10)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of one region, without a slash at the end."""

    modelarts: str
    iam: str


_PATTERNS = {
    "otc": Endpoints("https://modelarts.{}.otc.t-systems.com", "https://iam.{}.otc.t-systems.com"),
    "huaweicloud": Endpoints("https://modelarts.{}.myhuaweicloud.com", "https://iam.{}.myhuaweicloud.com"),
}
_EXCEPTIONS = {
    ("otc", "eu-ch2"): Endpoints(  # the Swiss cloud; by its naming pattern, ModelArts was not seen there
        "https://modelarts.{}.sc.otc.t-systems.com", "https://iam-pub.{}.sc.otc.t-systems.com"
    ),
    ("huaweicloud", "eu-west-101"): Endpoints(  # the European cloud has its own domain
        "https://modelarts.{}.myhuaweicloud.eu", "https://iam.{}.myhuaweicloud.eu"
    ),
}


def preset(cloud: str, region: str) -> Endpoints | None:
    """Give the URLs of a region; None when the cloud or the region is not given.

    Regions we never heard of follow their cloud's pattern, because clouds grow faster than this table.
    """
    if not region or cloud not in _PATTERNS:
        return None
    pattern = _EXCEPTIONS.get((cloud, region), _PATTERNS[cloud])
    return Endpoints(pattern.modelarts.format(region), pattern.iam.format(region))
