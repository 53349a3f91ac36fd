"""Pictures to read, and a short way to read a source."""

from PIL import Image

from elysium.inference.sources import ReadOptions, open_source

from .made_videos import numbered, numbers


def save(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbered(number)).save(path)
    return path


def read(uri, **options):
    """The numbers of the frames that come, which are those in the pictures too, and what was announced."""
    source = open_source(str(uri), ReadOptions(**options))
    frames = list(source)
    source.close()
    assert numbers(frames) == [frame.index for frame in frames]
    return [frame.index for frame in frames], source.info
