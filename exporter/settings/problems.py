"""Mistakes in the settings, collected so that all are told at once."""


class SettingsError(Exception):
    """The settings cannot be used. `mistakes` is one sentence each, with the path of the key; none holds a secret."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Faults:
    """Collects mistakes by the path of the key they were made at."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], None] = {}

    def add(self, path: str, sentence: str) -> None:
        """Note one mistake; the same one twice (through an anchor) counts once. An empty path is the whole file."""
        self._found[path, sentence] = None

    def spoils(self, *paths: str) -> bool:
        """Whether something at or below one of the paths is wrong, so that its value says nothing."""
        return any(
            found == path or found.startswith((path + ".", path + "[")) for found, _ in self._found for path in paths
        )

    def settle(self) -> None:
        """Raise SettingsError when there was any mistake."""
        if self._found:
            raise SettingsError(tuple(f"{path}: {sentence}" if path else sentence for path, sentence in self._found))
