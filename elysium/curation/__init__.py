"""Captions become chunks, boxes, tracks, and after every filter ElysiumTrack records (PROTOCOL §6)."""
