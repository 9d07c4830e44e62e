"""Freed memory is returned to the system."""

import ctypes
import subprocess
import sys

import pytest

MAPPED = """
import sys
from exporter.commands.allocator import configure_malloc
from tests.soak.resources import mapped_bytes
if sys.argv[1] == "settled":
    configure_malloc()
large = bytes(20 * 2**20)
del large
kept = bytes(5 * 2**20)
print(mapped_bytes())
"""
"""glibc takes the size of `large` for its new threshold, and so takes `kept` from its heap: a hole when freed."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this is about glibc, and here is none")
@pytest.mark.parametrize("how, mapped", [("settled", True), ("left-alone", False)])
def test_large_blocks_are_returned_to_the_system(how: str, mapped: bool) -> None:
    """After a block of 20 MB a block of 5 MB is still returned to the system when freed; by default it is not."""
    result = subprocess.run([sys.executable, "-c", MAPPED, how], capture_output=True, check=True, text=True)
    assert (int(result.stdout) >= 5 * 2**20) == mapped
