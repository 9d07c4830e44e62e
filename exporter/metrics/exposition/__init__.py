"""From families and a snapshot to rendered bytes."""
