"""What we mean: jobs, usage, snapshots, and the protocols the layers meet by. Standard library only."""
