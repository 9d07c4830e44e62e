"""API generation v2: endpoints, wire structs, and the adapter that turns them into the shared model."""
