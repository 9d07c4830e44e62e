"""A regular expression that must match the whole text, like Prometheus' anchored ones."""

import re
import warnings


class Regex:
    """Python's syntax, matched against the whole text. `.` also matches newlines.

    Raises ValueError, whose text names the problem, if the pattern does not compile, or if Python and Prometheus
    interpret it differently ("[[:alpha:]]").
    """

    __slots__ = ("_compiled",)

    def __init__(self, pattern: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)
                self._compiled = re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise ValueError(error.msg) from None
        except FutureWarning:
            raise ValueError("nested character sets are not supported") from None
        except (OverflowError, RecursionError):
            raise ValueError("too large") from None

    @property
    def pattern(self) -> str:
        """The pattern as it was written."""
        return self._compiled.pattern

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` matches."""
        return self._compiled.fullmatch(text) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r})"
