"""Every kind of encoder has one record, whose tower exists and takes its pixels from it."""

from __future__ import annotations

from importlib import import_module
from typing import get_args

import pytest

from models.design import CustomEncoder, Encoder
from models.encoders import VisionEncoder
from models.families import FAMILIES, Family
from models.weights import OWN_LAYOUTS


def tower(family: Family) -> type[VisionEncoder]:
    module, _, name = family.encoder.partition(":")
    return getattr(import_module(module), name)


def test_every_kind_of_the_union_has_a_record():
    union = get_args(get_args(Encoder)[0])
    assert {family.config for family in FAMILIES.values()} == set(union) - {CustomEncoder}
    assert len({family.encoder for family in FAMILIES.values()}) == len(FAMILIES)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_record_names_a_class_that_prepares_pixels_by_it(kind: str):
    family = FAMILIES[kind]
    encoder = tower(family)
    assert issubclass(encoder, VisionEncoder)
    assert (encoder.normalisation, encoder.interpolation, encoder.antialias, encoder.rounds) == family.pixels


@pytest.mark.parametrize("kind", FAMILIES)
def test_sizes_come_from_config_json_or_from_a_published_layout(kind: str):
    family = FAMILIES[kind]
    assert bool(family.model_types) == bool(family.defaults) == (kind not in OWN_LAYOUTS)
    if family.defaults:
        entries = {family.side_entry, *(bias for bias in family.qkv_bias if isinstance(bias, str))}
        assert entries <= family.defaults.keys()
        assert family.resolution(family.sizes({})) > 0


def test_image_kinds_are_those_whose_config_fixes_one_frame():
    for family in FAMILIES.values():
        assert family.is_image == (getattr(family.config, "frames", None) == 1)
        assert family.arrangement == "frame" or not family.is_image
    assert (FAMILIES["dinov2"].default_frames, FAMILIES["internvideo2"].default_frames) == (1, 4)
    assert (FAMILIES["siglip"].default_layer, FAMILIES["vjepa"].default_layer) == (-2, -1)
