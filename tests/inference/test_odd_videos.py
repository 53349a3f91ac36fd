"""Videos that are not as one would like them: read right, or refused with the frame that is at fault."""

import numpy as np
import pytest
from PIL import Image

from elysium.data.decoding import decode_file
from elysium.data.limits import Limits
from elysium.data.pictures import read_picture
from elysium.data.video import VideoError, iterate_video, probe, read_video
from elysium.errors import UsageError

from .made_videos import (
    cut,
    make,
    make_song_with_cover,
    make_sound,
    noise,
    number_of,
    numbered,
    numbers,
    scratched,
)


def read_until_error(path, limits=None):
    """The frames that come, and the error that ends them."""
    frames = []
    with pytest.raises(VideoError) as caught:
        frames.extend(iterate_video(path, limits))
    return frames, str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}),
        ("a.mkv", {"codec": "ffv1", "pixels": "yuv420p"}),
        ("a.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
        ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("a.ts", {}),
        ("a.flv", {}),
        ("a.h264", {}),
        ("a.gif", {"codec": "gif", "pixels": "gray"}),
        ("10-bit.mkv", {"codec": "libx265", "pixels": "yuv420p10le", "x265-params": "log-level=none"}),
        ("10-bit.mp4", {"pixels": "yuv420p10le"}),
        ("with sound.mp4", {"sound": True}),
        ("grey.mkv", {"codec": "ffv1", "pixels": "gray"}),
        ("16-bit.mkv", {"codec": "ffv1", "pixels": "gray16le"}),
        ("bgr.avi", {"codec": "rawvideo", "pixels": "bgr24"}),
        ("palette.mov", {"codec": "png", "pixels": "rgb24"}),
    ],
)
def test_each_kind_of_file_gives_its_frames_in_order(tmp_path, name, options):
    frames = list(iterate_video(make(tmp_path / name, 6, **options)))
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 6
    shades = [float(frame.image[-1, -1].mean()) for frame in frames]
    assert shades == pytest.approx([16 + 6 * number for number in range(6)], abs=3)
    assert all(frame.image[2, 2].min() > 240 for frame in frames)


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (2, 100), (641, 3)])
def test_odd_sizes_come_as_they_are(tmp_path, size):
    frames = list(iterate_video(make(tmp_path / "a.mkv", 2, size=size, codec="ffv1", pixels="bgr0")))
    assert [frame.image.shape for frame in frames] == [(size[1], size[0], 3)] * 2


def test_a_video_of_one_frame(tmp_path):
    path = make(tmp_path / "a.mp4", 1)
    assert numbers(iterate_video(path)) == [0]
    assert probe(path).num_frames == 1


def test_times_of_a_variable_frame_rate_are_kept(tmp_path):
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.033]
    frames = list(iterate_video(make(tmp_path / "a.mkv", 6, times=times, bf="0")))
    assert [frame.timestamp for frame in frames] == pytest.approx(times, abs=2e-3)
    assert numbers(frames) == list(range(6))


def test_frames_shown_in_another_order_than_stored_come_as_shown(tmp_path):
    path = make(tmp_path / "a.mp4", 20, preset="medium", bf="3", g="8")
    assert numbers(iterate_video(path)) == list(range(20))


def half_transparent(number, width, height):
    """White everywhere: the left half transparent, the lower right quarter by half."""
    frame = np.full((height, width, 4), 255, dtype=np.uint8)
    frame[:, : width // 2, 3] = 0
    frame[height // 2 :, width // 2 :, 3] = 128
    return frame


def assert_seen_before_black(image):
    assert image[5, 5].tolist() == [0, 0, 0]
    assert image[5, -5].tolist() == [255, 255, 255]
    assert image[-5, -5].tolist() == pytest.approx([128] * 3, abs=1)


@pytest.mark.parametrize(("codec", "pixels"), [("qtrle", "argb"), ("png", "rgba")])
def test_transparent_parts_of_a_video_are_black(tmp_path, codec, pixels):
    path = make(tmp_path / "a.mov", 2, codec=codec, pixels=pixels, draw=half_transparent)
    for frame in iterate_video(path):
        assert_seen_before_black(frame.image)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_transparent_parts_of_a_picture_are_black(tmp_path, name):
    Image.fromarray(half_transparent(0, 64, 48)).save(tmp_path / name, lossless=True)
    assert_seen_before_black(read_picture(tmp_path / name))


def test_transparent_parts_of_an_animation_are_black(tmp_path):
    first, second = (Image.fromarray(half_transparent(0, 64, 48)[..., 3] // 255 + shift) for shift in (0, 0))
    for picture in (first, second):
        picture.putpalette([9, 200, 9, 255, 255, 255])
    second.putpixel((40, 5), 0)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], transparency=0, disposal=2, duration=100)
    frames = list(iterate_video(tmp_path / "a.gif"))
    assert [frame.image[5, 5].tolist() for frame in frames] == [[0, 0, 0]] * 2
    assert [frame.image[5, -5].tolist() for frame in frames] == [[255, 255, 255]] * 2


def test_pictures_are_turned_as_their_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(numbered(3)).save(tmp_path / "a.jpg", exif=exif)
    image = read_picture(tmp_path / "a.jpg")
    assert image.shape == (64, 48, 3)
    assert image[2, -2].min() > 240


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "I;16"])
def test_pictures_of_all_modes_are_rgb(tmp_path, mode):
    picture = Image.fromarray(numbered(10))
    in_16_bits = Image.fromarray(numbered(10)[..., 0].astype(np.uint16) * 257)
    picture = in_16_bits if mode == "I;16" else picture.convert(mode)
    picture.save(tmp_path / "a.tif")
    image = read_picture(tmp_path / "a.tif")
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert image[2, 2].tolist() == pytest.approx([255] * 3, abs=1)


@pytest.mark.parametrize("make_file", [make_sound, make_song_with_cover])
def test_sound_alone_is_no_video(tmp_path, make_file):
    path = make_file(tmp_path / "song.m4a")
    with pytest.raises(VideoError, match=r"song\.m4a holds only sound.*a video stream is needed"):
        list(iterate_video(path))


def test_a_recording_that_was_not_finished_is_refused(tmp_path):
    path = cut(make(tmp_path / "a.mp4", draw=noise), 0.6)
    with pytest.raises(VideoError, match=r"cut-a\.mp4 is not a video that can be read: .*the file is cut off"):
        list(iterate_video(path))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {}),
        ("a.ts", {}),
        ("a.avi", {}),
        ("a.flv", {}),
        ("a.mp4", {"muxer": {"movflags": "+faststart"}}),
        ("fragmented.mp4", {"muxer": {"movflags": "+frag_keyframe+empty_moov"}, "g": "5"}),
        ("a.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_the_frames_before_a_cut_come_and_then_the_error(tmp_path, name, options):
    path = make(tmp_path / name, 30, draw=noise, **options)
    whole = [frame.image for frame in iterate_video(path)]
    frames, message = read_until_error(cut(path, 0.6))
    assert 14 <= len(frames) <= 20
    assert f"frame {len(frames)} " in message
    for frame, image in zip(frames, whole, strict=False):
        assert np.array_equal(frame.image, image)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_the_frames_before_a_scratch_come_and_then_the_error(tmp_path, name):
    path = make(tmp_path / name, 30, draw=noise, preset="medium", bf="2", g="10", crf="20")
    whole = [frame.image for frame in iterate_video(path)]
    frames, message = read_until_error(scratched(path))
    assert 8 <= len(frames) <= 20
    assert f"frame {len(frames)} " in message
    for frame, image in zip(frames, whole, strict=False):
        assert np.array_equal(frame.image, image)


def test_a_broadcast_may_begin_in_the_middle_of_a_group_of_pictures(tmp_path):
    content = make(tmp_path / "a.ts", 30, g="10").read_bytes()
    middle = len(content) // 2 // 188 * 188
    (tmp_path / "later.ts").write_bytes(content[middle:])
    found = numbers(iterate_video(tmp_path / "later.ts"))
    assert found == list(range(30 - len(found), 30))
    assert 10 <= len(found) < 20


def test_a_stream_may_change_its_size(tmp_path):
    small, large = make(tmp_path / "a.ts", 5), make(tmp_path / "b.ts", 5, size=(128, 96))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    shapes = [frame.image.shape[:2] for frame in iterate_video(tmp_path / "both.ts")]
    assert shapes == [(48, 64)] * 5 + [(96, 128)] * 5
    with pytest.raises(VideoError, match="frame 5 has the shape"):
        read_video(tmp_path / "both.ts")


def test_a_stream_may_not_grow_beyond_the_limit(tmp_path):
    small, large = make(tmp_path / "a.ts", 5), make(tmp_path / "b.ts", 5, size=(640, 480))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    # The header that is shown is the last one: this one is refused at once, as it should be.
    with pytest.raises(VideoError, match="640x480 pixels exceed the limit of 100000"):
        list(iterate_video(tmp_path / "both.ts", Limits(max_pixels=100_000)))


def test_a_stream_without_a_frame_is_an_error(tmp_path):
    path = make(tmp_path / "a.mkv", 0, codec="ffv1")
    with pytest.raises(VideoError):
        list(iterate_video(path))


def test_a_playlist_opens_no_other_files(tmp_path):
    make(tmp_path / "a.ts", 5)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile a.ts\n")
    for name in ("list.m3u8", "list.txt"):
        with pytest.raises(VideoError, match="it is a playlist of other files"):
            list(iterate_video(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {}), ("a.mkv", {"codec": "ffv1", "pixels": "bgr0"}), ("a.mov", {"codec": "png", "pixels": "rgb24"})],
)
def test_frames_that_are_too_large_are_refused_before_they_are_decoded(tmp_path, name, options):
    path = make(tmp_path / name, 1, size=(640, 480), **options)
    assert len(list(iterate_video(path, Limits(max_pixels=640 * 480)))) == 1
    frames, message = read_until_error(path, Limits(max_pixels=640 * 480 - 1))
    assert frames == []
    assert message.endswith("640x480 pixels exceed the limit of 307199 (--max-pixels)")
    assert "frame 0" not in message


def test_a_bomb_is_not_unfolded(tmp_path):
    """The header is all that tells the size here, and the decoder would need more memory than the limit lets it."""
    path = make(tmp_path / "a.mov", 1, size=(4000, 3000), codec="png", pixels="rgb24")
    assert path.stat().st_size < 200_000
    with pytest.raises(VideoError, match="--max-pixels"):
        list(iterate_video(path, Limits(max_pixels=100 * 100)))


def test_pictures_that_are_too_large_are_refused(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"400000000 pixels\) exceeds limit .*--max-pixels"):
        read_picture(tmp_path / "a.png", Limits().max_pixels)
    with pytest.raises(ValueError, match=r"64x48 pixels exceed the limit of 3000 \(--max-pixels\)"):
        read_picture(make_picture(tmp_path / "b.png"), 3000)


def make_picture(path):
    Image.fromarray(numbered(3)).save(path)
    return path


def test_a_video_that_is_too_long_ends_at_the_limit(tmp_path):
    path = make(tmp_path / "a.mkv", 4, times=[0, 1, 2, 50_000])
    frames, message = read_until_error(path, Limits(max_seconds=3600))
    assert numbers(frames) == [0, 1, 2]
    assert "frame 3 comes 50000.0 s after the first, over the limit of 3600 s (--max-seconds)" in message


def test_a_video_that_unfolds_too_far_ends_at_the_limit(tmp_path):
    frames, message = read_until_error(make(tmp_path / "a.mp4", 10), Limits(max_decoded_bytes=4 * 64 * 48 * 3))
    assert numbers(frames) == [0, 1, 2, 3]
    assert "with frame 4 the video has unfolded to" in message
    assert "(--max-decoded-bytes)" in message


@pytest.mark.parametrize("field", ["max_pixels", "max_seconds", "max_decoded_bytes", "max_file_bytes"])
def test_limits_are_more_than_nothing(field):
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')} is more than 0, got 0"):
        Limits(**{field: 0})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"g": "6"}),
        ("a.mp4", {"g": "6", "preset": "medium", "bf": "3"}),
        ("open gop.mp4", {"preset": "medium", "bf": "3", "x264-params": "keyint=6:min-keyint=6:open-gop=1"}),
        ("open gop.mkv", {"preset": "medium", "bf": "3", "x264-params": "keyint=6:min-keyint=6:open-gop=1"}),
        ("refresh.mkv", {"preset": "medium", "x264-params": "keyint=6:intra-refresh=1"}),
        ("a.mkv", {"g": "1"}),
        ("a.mp4", {"g": "1"}),
        ("hevc.mp4", {"codec": "libx265", "x265-params": "log-level=none:keyint=6:open-gop=1"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "g": "6", "deadline": "realtime", "cpu-used": "8"}),
        ("a.ts", {"g": "6"}),
        ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    ],
)
def test_beginning_later_gives_the_very_same_frames(tmp_path, name, options):
    path = make(tmp_path / name, 24, **options)
    whole = [(frame.number, frame.timestamp, frame.image()) for frame in decode_file(path)]
    assert [number for number, *_ in whole] == list(range(24))
    for start in (1, 5, 6, 7, 11, 13, 18, 23):
        found = [(frame.number, frame.timestamp, frame.image()) for frame in decode_file(path, start=start)]
        assert [entry[:2] for entry in found] == [entry[:2] for entry in whole[start:]]
        assert all(np.array_equal(one[2], other[2]) for one, other in zip(found, whole[start:], strict=True))


def test_beginning_later_does_not_decode_what_comes_before(tmp_path):
    """Frames before the key frame are damaged, and nobody minds."""
    path = scratched(make(tmp_path / "a.mp4", 40, draw=noise, g="10"), share=0.2, length=2000)
    frames, _ = read_until_error(path)
    assert len(frames) < 12
    assert [frame.number for frame in decode_file(path, start=31)] == list(range(31, 40))


def test_beginning_behind_the_end_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"has 10 frames: there is none from number 10 on \(--start\)"):
        list(decode_file(make(tmp_path / "a.mp4", 10), start=10))


def test_the_number_is_in_the_frame(tmp_path):
    assert [number_of(numbered(number)) for number in range(24)] == list(range(24))
