"""Media of a record: images, videos, segments of videos, folders of frames."""

from __future__ import annotations

import re

from models.data.manifest.fields import MAX_SECONDS, Fields, Keys, described
from models.data.manifest.records import Kind
from models.video import Medium

MEDIA_KEYS = ("video", "videos", "image", "images")
TIME_KEYS = ("start", "end", "fps")
"""Keys of one video: its segment in seconds, and the rate of a folder of frames."""
_SEGMENT = "give the segment of a video as `start` and `end`, in seconds"
_FRAMES = "give a folder of frames as `video`, with its frames per second as `fps`"
_RATE = "give the frames per second of a folder of frames as `fps`; a file has its own"
INSTEAD = {
    **dict.fromkeys(("video_start", "video_end", "start_time", "end_time", "start_sec", "end_sec"), _SEGMENT),
    **dict.fromkeys(("start_s", "end_s", "start_seconds", "end_seconds", "begin", "stop", "from_s", "to_s"), _SEGMENT),
    **dict.fromkeys(("segment", "segments", "clip", "clips", "span", "timestamp", "timestamps", "interval"), _SEGMENT),
    **dict.fromkeys(("start_frame", "end_frame", "frame_range"), f"{_SEGMENT}, not frame numbers"),
    **dict.fromkeys(("video_frames", "frames", "frame_paths", "frames_dir", "frame_folder"), _FRAMES),
    **dict.fromkeys(("frame_rate", "framerate", "video_fps", "sample_fps", "rate"), _RATE),
    **dict.fromkeys(("video_duration", "duration_s", "duration_sec", "length"), "give the seconds as `duration`"),
    **dict.fromkeys(("video_path", "video_file", "video_name", "vid"), "give the path as `video`"),
    **dict.fromkeys(("image_path", "image_file", "image_paths", "img", "picture"), "give the path as `image`"),
}
"""Key of another format -> what to write."""
_VIDEO_ENTRY = Keys(used=("path", *TIME_KEYS), instead=INSTEAD)
_IMAGE_ENTRY = Keys(used=("path",), instead=INSTEAD)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:|file:")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_media(record: Fields) -> tuple[Kind, tuple[Medium, ...], float | None]:
    """Kind, media and duration of a record.

    Returns:
        Its kind; its media in order; seconds of a single video or of its segment, None if the record lacks them.

    Raises:
        ManifestError: a path or a time is not in the format, or times are without the one video that they belong to.
    """
    keys = [key for key in MEDIA_KEYS if key in record]
    if len(keys) > 1:
        record.refuse(f"has both `{keys[0]}` and `{keys[1]}`; give one of them")
    key = keys[0] if keys else ""
    value = record.get(key)
    if key.endswith("s") and not isinstance(value, list):
        record.refuse(f"must be a list of paths; write `{key[:-1]}` for a single path", key)
    entries = value if isinstance(value, list) else [value] if keys else []
    if keys and not entries:
        record.refuse("is an empty list: leave the key out for a record without media", key)
    of_record = [key for key in (*TIME_KEYS, "duration") if key in record]
    if of_record and (not key.startswith("video") or len(entries) != 1):
        fix = ": write {path, start, end} for each video of the list" if len(entries) > 1 else ""
        record.refuse(f"belongs to a record with one video{fix}", of_record[0])
    if not keys:
        return "text", (), None
    places = [f"{key}[{i}]" for i in range(len(entries))] if isinstance(value, list) else [key]
    if key.startswith("video"):
        videos = tuple(_video(record, place, entry) for place, entry in zip(places, entries, strict=True))
        return "video", videos, _duration(record, videos[0])
    images = tuple(_image(record, place, entry) for place, entry in zip(places, entries, strict=True))
    return ("image" if len(images) == 1 else "multi_image"), images, None


def _video(record: Fields, place: str, entry: object) -> Medium:
    if isinstance(entry, dict):
        fields = record.inner(place, entry, "`path`")
        fields.check_keys(_VIDEO_ENTRY)
        if of_record := [name for name in TIME_KEYS if name in record]:
            record.refuse(f"stands beside an object with a path: write it into `{place}`", of_record[0])
        path = fields.text("path", "give the path of the video")
        return _timed(fields, _checked_path(fields, "path", path))
    return _timed(record, _checked_path(record, place, entry))


def _image(record: Fields, place: str, entry: object) -> Medium:
    if isinstance(entry, dict):
        fields = record.inner(place, entry, "`path`")
        fields.check_keys(_IMAGE_ENTRY)
        return Medium(path=_checked_path(fields, "path", fields.get("path")), kind="image")
    return Medium(path=_checked_path(record, place, entry), kind="image")


def _timed(fields: Fields, path: str) -> Medium:
    """A video with the times of its record, or of its object in the list."""
    start_s = fields.measure("start", "a number of seconds", MAX_SECONDS) or 0.0
    end_s = fields.measure("end", "a number of seconds", MAX_SECONDS)
    fps = fields.measure("fps", "a number of frames per second", 1000)
    if end_s is not None and end_s <= start_s:
        fields.refuse(f"is {end_s:g} s, but `start` is {start_s:g} s: a segment ends after its start", "end")
    if fps == 0:
        fields.refuse("must be above 0", "fps")
    return Medium(path=path, kind="video", start_s=start_s, end_s=end_s, fps=fps)


def _duration(record: Fields, video: Medium) -> float | None:
    """Seconds that are sampled: those of the segment, or of the whole video."""
    whole = record.measure("duration", "a number of seconds", MAX_SECONDS)
    if whole is not None:
        for name, time_s in (("start", video.start_s), ("end", video.end_s)):
            if time_s is not None and (time_s > whole or (name == "start" and time_s == whole > 0)):
                record.refuse(f"is {time_s:g} s, but the `duration` of the video is {whole:g} s", name)
    end_s = whole if video.end_s is None else video.end_s
    return None if end_s is None else end_s - video.start_s


def _checked_path(fields: Fields, key: str, path: object) -> str:
    """A path below the data folder.

    Raises:
        ManifestError: it is no text, a URL, absolute, leads out of the folder, or has backslashes.
    """
    if not isinstance(path, str):
        fields.refuse(f"must be a path, an object with `path`, or a list of them, not {described(path)}", key)
    path = fields.as_text(path, key)
    if _URL.match(path):
        fields.refuse(f"{path[:60]!r} is no path: download the file into the data folder", key)
    if _DRIVE.match(path) or "\\" in path:
        fields.refuse(f"{path[:60]!r}: write `/` between folders, and a path relative to the data folder", key)
    if _CONTROL.search(path):
        fields.refuse(f"{path[:60]!r} contains a control character", key)
    if path.startswith(("/", "~")) or (".." in path and ".." in path.split("/")):
        fields.refuse(
            f"{path[:60]!r} leads out of the data folder: write a path relative to it, and link media that lie "
            "elsewhere into it (ln -s)",
            key,
        )
    return path
