"""Content negotiation by request headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.negotiate import negotiate

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," + PROMETHEUS_3
)
PROMETHEUS_3_TEXT_FIRST = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept, openmetrics",
    [
        pytest.param(PROMETHEUS_2, True, id="Prometheus 2"),
        pytest.param(PROMETHEUS_3, True, id="Prometheus 3"),
        pytest.param(PROMETHEUS_3_PROTOBUF, True, id="Prometheus 3 with native histograms"),
        pytest.param(PROMETHEUS_3_TEXT_FIRST, False, id="Prometheus 3 set to prefer text"),
        pytest.param(BROWSER, False, id="browser"),
        pytest.param("", False, id="nothing"),
        pytest.param("*/*", False, id="anything"),
        pytest.param("application/*", False, id="anything of that kind, unnamed"),
        pytest.param("application/openmetrics-text", True, id="no version"),
        pytest.param("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", True, id="case and spaces"),
        pytest.param('application/openmetrics-text;version="1.0.0"', True, id="quoted"),
        pytest.param("application/openmetrics-text;version=0.0.1", False, id="version we do not speak"),
        pytest.param("application/openmetrics-text;q=0", False, id="refused"),
        pytest.param("application/openmetrics-text;q=0,*/*", False, id="refused, anything else"),
        pytest.param("application/openmetrics-text;q=0.5,text/plain;q=0.6", False, id="text preferred"),
        pytest.param("application/openmetrics-text;q=0.6,text/plain;q=0.5", True, id="OpenMetrics preferred"),
        pytest.param("application/openmetrics-text,text/plain", True, id="as good, named first"),
        pytest.param("text/plain,application/openmetrics-text", False, id="as good, text named first"),
        pytest.param("application/openmetrics-text;q=0.4,*/*;q=0.5", False, id="anything preferred"),
        pytest.param("application/openmetrics-text;q=0.5,*/*;q=0.5", True, id="as good as anything"),
        pytest.param("application/openmetrics-text;q=0.5,text/*;q=0.6,*/*;q=0.1", False, id="any text preferred"),
        pytest.param(
            "application/openmetrics-text;q=0.5,text/plain;version=9;q=0.9", True, id="a text we do not speak"
        ),
        pytest.param("application/openmetrics-text;q=much,text/plain;q=0.1", False, id="q that is no number"),
        pytest.param("application/openmetrics-text;q=nan,text/plain;q=0.1", False, id="q that is not a number"),
        pytest.param("application/openmetrics-text;q=7,text/plain;q=0.1", False, id="q out of range"),
        pytest.param(",,;q=1,application/openmetrics-text,", True, id="empty entries"),
    ],
)
def test_accept(accept: str, openmetrics: bool) -> None:
    """OpenMetrics for clients that name it and prefer nothing else, text for all others."""
    assert negotiate(accept, "").openmetrics is openmetrics


@pytest.mark.parametrize(
    "accept_encoding, gzip",
    [
        pytest.param("gzip", True, id="gzip"),
        pytest.param("gzip, deflate, br, zstd", True, id="browser"),
        pytest.param("", False, id="nothing"),
        pytest.param("identity", False, id="identity"),
        pytest.param("deflate", False, id="another"),
        pytest.param("x-gzip", True, id="old name"),
        pytest.param("GZIP;Q=0.5", True, id="case"),
        pytest.param("gzip;q=0", False, id="refused"),
        pytest.param("gzip;q=0, *", False, id="refused, anything else"),
        pytest.param("*", True, id="anything"),
        pytest.param("*;q=0", False, id="nothing else"),
        pytest.param("identity;q=1, gzip;q=0.5", False, id="plain preferred"),
        pytest.param("identity;q=0.5, gzip;q=1", True, id="gzip preferred"),
        pytest.param("gzip;q=broken", False, id="q that is no number"),
    ],
)
def test_accept_encoding(accept_encoding: str, gzip: bool) -> None:
    """Gzip for clients that accept it and do not prefer identity."""
    assert negotiate("", accept_encoding).gzip is gzip


@given(st.text(), st.text())
def test_any_header_is_negotiated(accept: str, accept_encoding: str) -> None:
    """No header, however malformed, makes negotiation fail; an unknown one gets plain text or what it names."""
    choice = negotiate(accept, accept_encoding)

    assert choice.openmetrics <= ("openmetrics" in accept.lower())
    assert choice.gzip <= ("gzip" in accept_encoding.lower() or "*" in accept_encoding)
