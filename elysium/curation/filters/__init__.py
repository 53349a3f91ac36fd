"""The filters of curation: small named stages, each with its threshold in the settings and its reason in the record."""
