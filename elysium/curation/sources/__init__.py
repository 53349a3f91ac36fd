"""Where videos come from: a source's listing, and fetching one video of it."""
