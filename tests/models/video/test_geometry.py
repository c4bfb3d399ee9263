"""Orientation and sides of frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.video.geometry import Orientation, fitted, limited, square_pixels
from tests.models.video.clips import number, picture, turned


@pytest.mark.parametrize("quarters", range(-4, 8))
def test_rotations_are_clockwise(quarters):
    stored = np.rot90(picture(9), quarters)  # counterclockwise
    for orientation in (Orientation.from_quarters(quarters), Orientation.from_matrix(turned(quarters % 4))):
        assert orientation.is_rotation
        assert number(orientation.upright(stored)) == 9
        assert orientation.stored((48, 64)) == stored.shape[:2]


@given(st.booleans(), st.booleans(), st.booleans())
def test_mirror_images_are_no_rotations(transposed, mirror_x, mirror_y):
    orientation = Orientation(transposed, mirror_x, mirror_y)
    rotations = [Orientation.from_quarters(quarters) for quarters in range(4)]
    assert orientation.is_rotation == (orientation in rotations)


sides = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


@given(sides, st.integers(1, 4000))
def test_the_longer_side_decides(sides, longer):
    assert max(fitted(sides, longer)) == longer
    assert limited(sides, longer) == (sides if max(sides) <= longer else fitted(sides, longer))
    assert limited(sides, None) == sides


@given(sides, st.floats(0.2, 5))
def test_no_side_loses_pixels(sides, aspect):
    height, width = square_pixels(*sides, aspect)
    assert height >= sides[0]
    assert width >= sides[1]
    assert width / height == pytest.approx(sides[1] * aspect / sides[0], rel=0.6 / min(sides))
