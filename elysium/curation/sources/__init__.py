"""What is to be curated: a source of any size as numbered tasks, fetched one video at a time."""
