"""Asking regularly: what is known, what was counted, what is published, and when."""
