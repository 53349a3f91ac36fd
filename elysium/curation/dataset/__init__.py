"""What leaves curation: stored frames, the data set with its card and its contact sheet, and checking by hand."""
