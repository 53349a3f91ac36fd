"""The picture of `elysium curate explain`: a row a piece, its first, middle and last frame, boxes and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from elysium.curation.evidence import CandidateRow, PieceRow, VideoRow
from elysium.data.transfer import whole_file

_WIDTH, _TEXT, _GAP, _LINE = 320, 420, 10, 17  # pixels
# Told apart also by colour-blind readers (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#000000")
_INK, _FADED, _PAPER = "#1f2328", "#6e7781", "#ffffff"


def draw(row: VideoRow, images: Mapping[int, Any], path: Path) -> None:
    """Draws the pieces of a video.

    Args:
        row: What was found.
        images: Frames by number in the video, RGB arrays.
        path: The PNG to write; it appears when it is whole.
    """
    font = ImageFont.load_default(13)
    colours = {chunk.text: _COLOURS[number % len(_COLOURS)] for number, chunk in enumerate(row.chunks)}
    parts = [_words(row, font, colours)]
    parts += [_piece(piece, images, font, colours) for piece in row.pieces]
    sheet = Image.new("RGB", (max(p.width for p in parts), sum(p.height + _GAP for p in parts)), _PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height + _GAP
    with whole_file(path) as file:
        sheet.save(file, "PNG")


def _words(row: VideoRow, font: Any, colours: Mapping[str, str]) -> Image.Image:
    lines = [(f"{row.id}: {row.caption}", _INK)]
    for chunk in row.chunks:
        failed = [verdict for verdict in chunk.verdicts if not verdict.passed]
        why = f" - not looked for: {failed[0].reason.replace('_', ' ')}" if failed else ""
        lines.append((f"{chunk.text}{why}", _FADED if failed else colours[chunk.text]))
    if row.error:
        lines.append((f"{row.kind}: {row.error}", "#b42318"))
    canvas = Image.new("RGB", (3 * _WIDTH + 4 * _GAP + _TEXT, _GAP + len(lines) * _LINE), _PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (text, colour) in enumerate(lines):
        pen.text((_GAP, _GAP + number * _LINE), _fitted(text, 3 * _WIDTH + _TEXT, font), fill=colour, font=font)
    return canvas


def _piece(piece: PieceRow, images: Mapping[int, Any], font: Any, colours: Mapping[str, str]) -> Image.Image:
    height = max(60, round(_WIDTH * piece.size[1] / piece.size[0]))
    lines = _verdicts(piece, colours)
    canvas = Image.new(
        "RGB", (3 * _WIDTH + 4 * _GAP + _TEXT, max(height + 2 * _LINE, (len(lines) + 1) * _LINE + _GAP)), _PAPER
    )
    pen = ImageDraw.Draw(canvas)
    length = len(piece.indices)
    for column, position in enumerate((0, length // 2, length - 1)):
        left = _GAP + column * (_WIDTH + _GAP)
        image = images.get(piece.indices[position])
        picture = Image.new("RGB", (_WIDTH, height), "#d0d7de")
        if image is not None:
            picture = Image.fromarray(image).resize((_WIDTH, height))
        _boxes(ImageDraw.Draw(picture), piece, ("first", "middle", "last")[column], position, colours)
        canvas.paste(picture, (left, _LINE))
        pen.text((left, 0), f"frame {piece.indices[position]}, {piece.timestamps[position]:.2f} s", _FADED, font=font)
    left = _GAP + 3 * (_WIDTH + _GAP)
    for number, (text, colour) in enumerate(lines):
        pen.text((left, number * _LINE), _fitted(text, _TEXT, font), fill=colour, font=font)
    return canvas


def _boxes(pen: Any, piece: PieceRow, name: str, position: int, colours: Mapping[str, str]) -> None:
    """Draws detections thin and tracks thick."""
    width, height = pen.im.size
    for row in piece.candidates:
        for found in getattr(row, name) or []:
            pen.rectangle(_pixels(found.box, width, height), outline=colours[row.text], width=1)
        if row.track is not None:
            box = row.track.boxes[position]
            if box[2] > box[0] and box[3] > box[1]:
                pen.rectangle(_pixels(box, width, height), outline=colours[row.text], width=4 if row.kept else 2)


def _pixels(box: tuple[float, float, float, float], width: int, height: int) -> tuple[float, float, float, float]:
    return box[0] * width, box[1] * height, box[2] * width - 1, box[3] * height - 1


def _verdicts(piece: PieceRow, colours: Mapping[str, str]) -> list[tuple[str, str]]:
    lines = [(f"{piece.vid}, {piece.split}, {len(piece.indices)} frames", _INK)]
    for verdict in piece.verdicts:
        if not verdict.passed:
            lines.append((f"rejected: {verdict.reason.replace('_', ' ')}{_number(verdict)}", "#b42318"))
    for row in piece.candidates:
        lines.append((f"{row.text}: {_fate(row)}", colours[row.text]))
    return lines


def _fate(row: CandidateRow) -> str:
    failed = [verdict for verdict in row.verdicts if not verdict.passed]
    if not failed:
        return "kept" if row.kept else "not followed"
    return f"{failed[0].reason.replace('_', ' ')}{_number(failed[0])}"


def _number(verdict: Any) -> str:
    return "" if verdict.value is None else f" ({verdict.value:.3g} against {verdict.threshold:.3g})"


def _fitted(text: str, width: int, font: Any) -> str:
    while font.getlength(text) > width and len(text) > 4:
        text = text[:-4] + "…"
    return text
