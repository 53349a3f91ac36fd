"""The production parts: Grounding DINO finds, SAM 2 follows, and any other tracker follows behind a command."""
