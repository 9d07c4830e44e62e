"""API generation v2: endpoints, wire structs, and the adapter from them to the domain model."""
