"""What the tests of several sets share."""

import json

import pytest


def lines(rows):
    """Returns rows as JSON lines; a text is a line as it is."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def about(*box):
    """Returns a box to compare with one that was stored in single precision."""
    return pytest.approx(box, abs=1e-6)


def boxes(record):
    """Returns the box of each of a picture's objects by its expression."""
    return {thing.expression: thing.boxes[0] for thing in record.objects}
