"""The simulated world: projects, pools, jobs and what happens to them."""
