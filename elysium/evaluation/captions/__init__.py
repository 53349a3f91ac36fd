"""Descriptions against what people wrote: METEOR, CIDEr, exact match and head nouns."""
