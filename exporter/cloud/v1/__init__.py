"""API generation v1: endpoints, wire structs, and the adapter that turns them into the shared model."""
