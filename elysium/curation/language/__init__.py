"""Language: which noun chunks of a caption name one thing that can be seen."""
