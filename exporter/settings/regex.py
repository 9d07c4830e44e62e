"""A regular expression that must match the whole text, as Prometheus anchors its own."""

import re
import warnings


class Regex:
    """Python's syntax, matched against the whole text; `.` matches newlines too.

    Raises ValueError, whose text says what is wrong, when the pattern does not compile, or when Python and
    Prometheus would read it differently ("[[:alpha:]]").
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
            raise ValueError("a set within a set is not understood") from None
        except (OverflowError, RecursionError):
            raise ValueError("too large") from None

    @property
    def pattern(self) -> str:
        """As it was written."""
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
