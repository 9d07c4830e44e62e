"""Polling: schedule, sources, ledgers, totals and the state that survives a restart."""
