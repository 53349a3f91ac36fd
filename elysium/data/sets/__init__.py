"""Public data sets in their published formats, read into one Parquet form (PROTOCOL §4)."""
