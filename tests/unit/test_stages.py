"""Maps of a picture from any trunk."""

import pytest
import torch
from torch import nn

from pretune.backbones.load import load_backbone
from pretune.backbones.places.stages import FeaturePyramid, StagedTrunk, find_stages, stages_at, stages_of_dicts
from pretune.errors import ModelError

TRUNKS = ("scratch:mobilenet-v2", "scratch:resnet-10", "scratch:vgg-11", "scratch:vit-micro")


@pytest.mark.parametrize("name", TRUNKS)
def test_every_kind_of_trunk_gives_maps_of_stride_8_16_and_32_at_any_size(name: str) -> None:
    trunk, _ = load_backbone(name, image_size=224).build("AutoModel", seed=0)
    found = stages_at(find_stages(trunk), (8, 16, 32), name)
    staged = StagedTrunk(found).eval()
    maps = staged(trunk.eval(), torch.zeros(2, 3, 96, 128))
    assert [tuple(one.shape) for one in maps] == [
        (2, channels, 96 // stride, 128 // stride)
        for channels, stride in zip(staged.channels, (8, 16, 32), strict=True)
    ]
    assert all(one.requires_grad for one in maps)
    assert stages_of_dicts([stage.to_dict() for stage in found]) == found


def test_a_map_moves_with_what_the_picture_shows() -> None:
    """Tokens of a transformer are put on the grid in the order in which it read them, rows first."""
    trunk, _ = load_backbone("scratch:vit-micro", image_size=224).build("AutoModel", seed=0)
    staged = StagedTrunk(stages_at(find_stages(trunk), (16,)))
    blank, spot = torch.zeros(1, 3, 96, 160), torch.zeros(1, 3, 96, 160)
    spot[:, :, 64:80, 112:128] = 5.0
    with torch.no_grad():
        change_hw = (staged(trunk.eval(), spot)[0] - staged(trunk, blank)[0]).abs().sum(dim=1)[0]
    assert divmod(int(change_hw.argmax()), change_hw.shape[1]) == (4, 7)


def test_a_stride_that_a_trunk_has_not_is_named() -> None:
    trunk, _ = load_backbone("scratch:resnet-10", image_size=64).build("AutoModel", seed=0)
    with pytest.raises(ModelError, match="maps of stride 4, 8, 16, 32, and 2 is needed"):
        stages_at(find_stages(trunk), (2, 8))


def test_a_trunk_without_inner_states_is_refused() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.convolution(pixel_values)

    with pytest.raises(ModelError, match="Plain shows no inner states"):
        find_stages(Plain())
    with pytest.raises(ModelError, match=r"config\.json tells of stages that are none"):
        stages_of_dicts([{"stride": 8}])


def test_a_pyramid_gives_each_map_one_width() -> None:
    maps = [torch.zeros(2, 8, 12, 16), torch.zeros(2, 16, 6, 8)]
    assert [tuple(one.shape) for one in FeaturePyramid([8, 16], 4)(maps)] == [(2, 4, 12, 16), (2, 4, 6, 8)]
