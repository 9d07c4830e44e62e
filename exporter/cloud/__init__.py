"""What the cloud says: one function that speaks HTTP, credentials, and an adapter for each API generation."""
