"""API generation v1: endpoints, wire structs, and the adapter from them to the domain model."""
