"""One-pass tracking, grounding and description metrics, with baselines, uncertainty and a report (PROTOCOL §7)."""
