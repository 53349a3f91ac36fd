"""What people do to a clip before it turns up again somewhere else: the copies that the leak guard is measured on."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
from PIL import Image, ImageEnhance, ImageOps

Pictures = list[Image.Image]


def each(change: Callable[[Image.Image], Image.Image]) -> Callable[[Pictures], Pictures]:
    """Returns what changes every frame."""
    return lambda images: [change(image) for image in images]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Returns the picture after JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Returns the picture in another size."""
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image: Image.Image, share: float, sides: str = "ltrb") -> Image.Image:
    """Returns the picture without a share of its width and height at some sides."""
    left, top, right, bottom = (share * (side in sides) for side in "ltrb")
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))


def barred(image: Image.Image, share: float) -> Image.Image:
    """Returns the picture with black bars above and below."""
    edge = round(image.height * share)
    return ImageOps.expand(image, (0, edge, 0, edge))


def with_logo(image: Image.Image) -> Image.Image:
    """Returns the picture with a white box near a corner, a hundredth of its area."""
    image, (width, height) = image.copy(), image.size
    image.paste("white", (round(0.8 * width), round(0.05 * height), round(0.95 * width), round(0.12 * height)))
    return image


def coded(images: Pictures, codec: str, **options: str) -> Pictures:
    """Returns a clip after a video codec."""
    file = io.BytesIO()
    width, height = (side // 2 * 2 for side in images[0].size)
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height = width, height
        stream.pix_fmt, stream.options = "yuvj420p" if codec == "mjpeg" else "yuv420p", options
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image.resize((width, height)))))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def h264(images: Pictures, crf: int) -> Pictures:
    """Returns a clip after H.264."""
    return coded(images, "libx264", crf=str(crf), preset="veryfast")


FRAME_CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 30": lambda image: jpeg(image, 30),
    "half size": lambda image: resized(image, 0.5),
    "2.5 % cut off every side": lambda image: cropped(image, 0.025),
    "5 % cut off one side": lambda image: cropped(image, 0.05, "l"),
    "5 % cut off every side": lambda image: cropped(image, 0.05),
    "brightness x 1.25": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "contrast x 0.7": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "logo": with_logo,
}
CHANGES: dict[str, Callable[[Pictures], Pictures]] = {
    "jpeg 90": each(lambda image: jpeg(image, 90)),
    "mjpeg, coarse": lambda images: coded(images, "mjpeg", qmin="25", qmax="31"),
    "h264 crf 35": lambda images: h264(images, 35),
    "h264 crf 35, half size": lambda images: h264([resized(image, 0.5) for image in images], 35),
    "double size": each(lambda image: resized(image, 2)),
    "brightness x 0.75": each(lambda image: ImageEnhance.Brightness(image).enhance(0.75)),
    "contrast x 1.3": each(lambda image: ImageEnhance.Contrast(image).enhance(1.3)),
    "without colours": each(lambda image: image.convert("L").convert("RGB")),
    "other shape": each(lambda image: image.resize((image.width, image.height * 3 // 4))),
    "mirrored": each(ImageOps.mirror),
    "every 2nd frame": lambda images: images[1::2],
    "every 3rd frame": lambda images: images[1::3],
    "without the first quarter": lambda images: images[len(images) // 4 :],
    "first half": lambda images: images[: len(images) // 2],
    "cut 2 %, brighter, h264 crf 30, from frame 1": lambda images: h264(
        [ImageEnhance.Brightness(cropped(image, 0.02)).enhance(1.1) for image in images[1:]], 30
    ),
    "bars above and below, 10 %": each(lambda image: barred(image, 0.1)),
    **{name: each(change) for name, change in FRAME_CHANGES.items()},
}
