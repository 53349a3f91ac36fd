"""What a caption says: its noun chunks, by rules or by a spaCy model, and which of them name one thing to look for."""
