"""Token integration: what stands around the visual tokens of a clip."""

from __future__ import annotations

import pytest

from models.data.integration import END_TOKEN, IMAGE_TOKEN, START_TOKEN, VIDEO_TOKEN, splice
from models.design import Integration
from models.video import Clip

SIGNS = {VIDEO_TOKEN: "*", IMAGE_TOKEN: "#", START_TOKEN: "[", END_TOKEN: "]"}


def spelled(ids: list[int]) -> str:
    return "".join(SIGNS[i] if i in SIGNS else chr(i) for i in ids)


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("switches", "text"),
    [
        ({}, "**"),
        ({"separators": True}, "[**]"),
        ({"timestamps": True}, "clip from 01:02-01:04: **"),
        ({"separators": True, "timestamps": True}, "clip from 01:02-01:04: [**]"),
    ],
)
def test_token_integration_has_the_papers_four_forms(switches: dict[str, bool], text: str):
    clip = Clip((0, 1), 62.0, 64.9)
    assert spelled(splice([clip, clip], 2, Integration(**switches), encode)) == text + text
    image = spelled(splice([clip], 2, Integration(**switches), encode, is_video=False, token=IMAGE_TOKEN))
    assert "clip" not in image  # an image is at no time
    assert image.count("#") == 2
