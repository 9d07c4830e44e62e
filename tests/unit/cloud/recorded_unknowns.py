"""A NoteUnknown that records its calls."""


class Notes:
    """Records fields and values, in order."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, object]] = []

    def __call__(self, field: str, value: object) -> None:
        self.noted.append((field, value))

    @property
    def fields(self) -> list[str]:
        """The fields without the values."""
        return [field for field, _ in self.noted]
