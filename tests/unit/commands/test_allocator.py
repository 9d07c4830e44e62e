"""Memory that was given back goes back to the system."""

import ctypes
import subprocess
import sys

import pytest

MAPPED = """
import sys
from exporter.commands.allocator import settle
from tests.soak.resources import mapped_bytes
if sys.argv[1] == "settled":
    settle()
large = bytes(20 * 2**20)
del large
kept = bytes(5 * 2**20)
print(mapped_bytes())
"""
"""glibc takes the size of `large` for its new threshold, and so takes `kept` from its heap: a hole when freed."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this is about glibc, and here is none")
@pytest.mark.parametrize("how, mapped", [("settled", True), ("left-alone", False)])
def test_large_pieces_are_mapped_whatever_came_before(how: str, mapped: bool) -> None:
    """After a piece of 20 MB one of 5 MB still goes back to the system when it is freed; left alone it would not."""
    told = subprocess.run([sys.executable, "-c", MAPPED, how], capture_output=True, check=True, text=True)
    assert (int(told.stdout) >= 5 * 2**20) == mapped
