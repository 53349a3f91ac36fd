"""Boxes of named objects in pictures: the published expressions, and their accuracy."""
