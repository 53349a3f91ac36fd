"""Elysium finds, follows and describes any object you can name in a video, and retrains the model that does."""

__version__ = "0.1.0"
