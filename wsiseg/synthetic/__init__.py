"""Synthetic kidney slides with their truth."""
