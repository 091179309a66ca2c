"""Video: planted frames come back in order, at their own times, upright; and what is refused."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from medcam.errors import BudgetError, InputError
from medcam.readers import _video_stream, video
from medcam.readers.video import Video
from medcam.study import Pixels, SeriesRecord

READER = Video()
LEVELS = (0, 60, 120, 180, 240, 90)


def planted(number: int, shape: tuple[int, int] = (32, 64)) -> np.ndarray:
    """A grey frame of its own level, with red in its upper left and blue in its lower right corner."""
    frame = np.full((*shape, 3), LEVELS[number], np.uint8)
    frame[:12, :12] = (200, 0, 0)
    frame[-12:, -12:] = (0, 0, 200)
    return frame


def movie(
    path: Path, ticks: tuple[int, ...] = (0, 1, 2, 3, 4, 5), codec: str = "mpeg4", rotation: int = 0, **options: object
) -> Path:
    """Six planted frames at tenths of a second."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = 32, 64
        stream.pix_fmt = str(options.get("layout", "yuv420p"))
        stream.codec_context.time_base = Fraction(1, 10)
        stream.codec_context.bit_rate = 4_000_000
        stream.codec_context.thread_count = 1
        if "aspect" in options:
            stream.codec_context.sample_aspect_ratio = options["aspect"]
        if "b_frames" in options:
            stream.codec_context.max_b_frames = options["b_frames"]
        if rotation:
            stream.set_display_rotation(rotation)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(planted(number), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def record(path: Path) -> SeriesRecord:
    assert READER.recognises(path, path.read_bytes()[:1024])
    (found,) = READER.series([READER.header(path)])
    return found


def read(path: Path) -> Pixels:
    series = record(path).series
    assert series is not None
    pixels = READER.pixels(series)
    assert pixels.grid == series.grid
    return pixels


CODECS = [
    ("a.mp4", "mpeg4"),
    ("a.mov", "mpeg4"),
    ("a.avi", "mpeg4"),
    ("a.avi", "mjpeg"),
    ("a.mkv", "ffv1"),
    ("a.webm", "libvpx"),
    ("a.mp4", "libx264"),
]


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_frames_come_back_in_order_with_their_times(tmp_path: Path, name: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"needs {codec}")
    layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    pixels = read(movie(tmp_path / name, codec=codec, layout=layout))
    assert pixels.array.shape == (6, 32, 64, 3)
    assert np.abs(pixels.array[:, 16, 32].astype(int) - np.array(LEVELS)[:, None]).max() <= 8
    assert pixels.grid.frame_times_s == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-3)
    red, blue = pixels.array[:, 4, 4].astype(int), pixels.array[:, -4, -4].astype(int)
    assert (red[:, 0] - red[:, 2] > 90).all()
    assert (blue[:, 2] - blue[:, 0] > 90).all()
    assert pixels.unit == "RGB"
    assert not pixels.grid.mm_known


def test_mpeg_program_streams_are_read(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.mpeg", "w", format="mpeg") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planted(number), format="rgb24")))
        container.mux(stream.encode())
    pixels = read(tmp_path / "a.mpeg")
    assert np.abs(pixels.array[:, 16, 32].astype(int) - np.array(LEVELS)[:, None]).max() <= 12
    assert np.diff(pixels.grid.frame_times_s) == pytest.approx([0.04] * 5)


def test_frames_that_are_stored_out_of_order_are_shown_in_order(tmp_path: Path) -> None:
    pixels = read(movie(tmp_path / "a.mp4", b_frames=2))
    assert np.abs(pixels.array[:, 16, 32, 0].astype(int) - LEVELS).max() <= 12


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    pixels = read(movie(tmp_path / "a.mkv", ticks=(0, 1, 5, 6, 17, 30)))
    assert pixels.grid.frame_times_s == pytest.approx([0, 0.1, 0.5, 0.6, 1.7, 3.0])


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    pixels = read(movie(tmp_path / "a.mkv", ticks=(50, 51, 52, 53, 54, 55)))
    assert pixels.grid.frame_times_s == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotated_recordings_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    """The rotation is anticlockwise, as numpy's rot90 and PyAV count it."""
    pixels = read(movie(tmp_path / "a.mp4", rotation=rotation))
    expected = np.rot90(planted(2), rotation // 90)
    assert pixels.array.shape[1:] == expected.shape
    assert np.abs(pixels.array[2].astype(int) - expected)[::8, ::8].mean() < 12
    for corner in ((4, 4), (4, -4), (-4, 4), (-4, -4)):
        assert np.abs(pixels.array[2][corner].astype(int) - expected[corner]).max() < 60
    assert any("display matrix" in step for step in pixels.steps) == (rotation != 0)


def test_mirrored_display_matrices_are_followed() -> None:
    picture = np.arange(6).reshape(2, 3)
    assert video._turned(picture, (1, 0, 0, 1)).tolist() == picture.tolist()
    assert video._turned(picture, (-1, 0, 0, 1)).tolist() == picture[:, ::-1].tolist()
    assert video._turned(picture, (1, 0, 0, -1)).tolist() == picture[::-1].tolist()
    assert video._turned(picture, (0, 1, 1, 0)).tolist() == picture.T.tolist()
    assert video._turned(picture, (0, 1, -1, 0)).tolist() == np.rot90(picture, -1).tolist()  # "rotate 90" of phones


def test_pixels_that_are_not_square_are_known_not_to_be(tmp_path: Path) -> None:
    pixels = read(movie(tmp_path / "a.mp4", aspect=Fraction(4, 3)))
    assert pixels.grid.spacing == pytest.approx((1, 1, 4 / 3))


def test_grey_video_stays_grey(tmp_path: Path) -> None:
    pixels = read(movie(tmp_path / "a.mkv", codec="ffv1", layout="gray"))
    assert not pixels.colour
    assert pixels.array.shape == (6, 32, 64)
    assert np.abs(pixels.array[:, 16, 32].astype(int) - LEVELS).max() <= 1


def test_gif_frames_are_whole_pictures_at_their_own_times(tmp_path: Path) -> None:
    frames = []
    for number in range(4):
        frame = np.full((20, 30, 3), 255, np.uint8)
        frame[5:10, 5 * number : 5 * number + 5] = (200, 0, 0)
        frames.append(Pillow.fromarray(frame))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 200, 100, 100], loop=0)
    pixels = read(tmp_path / "a.gif")
    assert pixels.array.shape == (4, 20, 30, 3)
    assert pixels.grid.frame_times_s == pytest.approx([0, 0.1, 0.3, 0.4])
    for number in range(4):
        assert np.abs(pixels.array[number].astype(int) - np.asarray(frames[number])).max() <= 8


def test_frames_lead_back_to_the_file(tmp_path: Path) -> None:
    series = record(movie(tmp_path / "a.mp4")).series
    assert series is not None
    assert series.source(4)[1] == 4
    assert (series.kind, series.modality, dict(series.facts)) == ("cine", "", {})


def refusal(path: Path) -> str:
    try:
        found = record(path)
        if found.series is not None:
            READER.pixels(found.series)
    except InputError as error:
        return error.code
    assert found.reason is not None
    return found.reason.code


def test_what_is_refused_and_why(tmp_path: Path) -> None:
    whole = movie(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "no_index.mp4").write_bytes(whole[: len(whole) // 2])
    start = whole.index(b"mdat") + 4
    damaged = bytearray(whole)
    damaged[start + 200 : start + 1200] = bytes(range(250)) * 4
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    avi = movie(tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(avi[: avi.index(b"movi") + (len(avi) - avi.index(b"movi")) // 2])
    (tmp_path / "noise.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(range(256)) * 8)
    (tmp_path / "playlist.mp4").write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (tmp_path / "concat.avi").write_bytes(b"ffconcat version 1.0\nfile whole.avi\n")
    with av.open(tmp_path / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    found = {path.name: refusal(path) for path in sorted(tmp_path.iterdir()) if path.stem != "whole"}
    assert found == {
        "concat.avi": "malformed",
        "cut.avi": "truncated",
        "damaged.mp4": found["damaged.mp4"],
        "no_index.mp4": "malformed",
        "noise.mp4": "malformed",
        "playlist.mp4": "malformed",
        "sound.mp4": "no-pixels",
    }
    assert found["damaged.mp4"] in ("malformed", "decode-failed")


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("h264", "libx264"),
        ("hevc", "libx265"),
        ("mpegts", "libx264"),
        ("mpegts", "mpeg2video"),
        ("mpeg2video", "mpeg2video"),
        ("mp4", "libx264"),
        ("vob", "mpeg2video"),
    ],
)
def test_streams_as_dicom_carries_them_are_told_apart_and_read(kind: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"needs {codec}")
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 128, 160, "yuv420p"
        if codec == "libx265":
            stream.codec_context.options = {"x265-params": "log-level=none"}
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planted(number, (128, 160)), format="rgb24")))
        container.mux(stream.encode())
    data = file.getvalue()
    with _video_stream.opened(io.BytesIO(data), _video_stream.stream_of(data[:1024])) as (container, stream):
        levels = [int(values[64, 80]) for _, values in _video_stream.frames(container, stream, grey=True)]
    assert np.abs(np.array(levels) - LEVELS).max() <= 12


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    data = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    assert _video_stream.stream_of(data) is None
    with pytest.raises(InputError), _video_stream.opened(io.BytesIO(data), None):
        pass


def test_still_pictures_in_the_same_container_are_not_video() -> None:
    assert not READER.recognises(Path("a.heic"), b"\0\0\0\x20ftypheic" + bytes(100))


def test_budgets_come_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = movie(tmp_path / "a.mp4")
    series = record(path).series
    assert series is not None
    monkeypatch.setenv("MEDCAM_DECODE_GIB", "0.00001")
    with pytest.raises(BudgetError):
        READER.pixels(series)
    monkeypatch.setattr(video, "MOST_FRAMES", 5)
    with pytest.raises(BudgetError, match="more than 5 frames"):
        READER.header(path)


@pytest.mark.parametrize("pattern", ["blues/*.mp4", "pocus/*.mov", "pocus/*.avi", "pocus/*.mpeg", "pocus/*.gif"])
def test_real_ultrasound_has_the_frames_that_pyav_counts(shared_data: Path, pattern: str) -> None:
    path = sorted((shared_data / "ultrasound").glob(pattern))[0]
    pixels = read(path)
    with av.open(path) as container:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in frames])
    assert pixels.grid.frame_times_s == pytest.approx((times - times[0]).tolist(), abs=1e-6)
    for number in (0, len(frames) // 2, len(frames) - 1):
        assert np.array_equal(pixels.array[number], frames[number][1])
