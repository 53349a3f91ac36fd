"""Checkpoints of the official release: read, written, and every tensor accounted for (PROTOCOL §3)."""
