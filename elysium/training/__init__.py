"""The three training phases on Hugging Face's Trainer: samples, phases, exact resume (PROTOCOL §4)."""
