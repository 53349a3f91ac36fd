"""Quality gates: what clips and tracks must be like, checked by Great Expectations, shown as pages and as JSON."""
