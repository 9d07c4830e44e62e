"""A NoteUnknown that remembers."""


class Notes:
    """What was noted as unknown, in order."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, object]] = []

    def __call__(self, field: str, value: object) -> None:
        self.noted.append((field, value))

    @property
    def fields(self) -> list[str]:
        """The fields alone."""
        return [field for field, _ in self.noted]
