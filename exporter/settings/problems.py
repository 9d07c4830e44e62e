"""Problems in the settings, collected so that all are reported at once."""


class SettingsError(Exception):
    """The settings are invalid. `problems` has one sentence each, with the path of the key and without secrets."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Problems:
    """Collects problems by the path of their key."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], None] = {}

    def add(self, path: str, sentence: str) -> None:
        """Add a problem. Duplicates (from a YAML anchor) count once. An empty path means the whole file."""
        self._found[path, sentence] = None

    def affects(self, *paths: str) -> bool:
        """Whether there is a problem at or below one of the paths, so that its value must not be used."""
        return any(
            found == path or found.startswith((path + ".", path + "[")) for found, _ in self._found for path in paths
        )

    def raise_if_any(self) -> None:
        """Raise SettingsError if there are problems."""
        if self._found:
            raise SettingsError(tuple(f"{path}: {sentence}" if path else sentence for path, sentence in self._found))
