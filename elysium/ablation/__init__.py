"""The paper's Table 7 at a size that anyone can run: which tokens of a frame are worth keeping, and how many."""
