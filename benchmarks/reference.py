"""The other side of the detector kinds: the loop of torchvision's detection references, with torchvision's SSD.

What its ``train.py`` does, less what only several processes need: pictures decoded and flipped in worker processes, its collate function,
SGD with momentum, its warm-up of the first epoch. Batch size and epochs are the plan's. The trunk, the strides and the number of boxes a
cell are those of pretune's side; with ``boxes-frozen`` the trunk rests, its batch norm too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.transforms import v2

from benchmarks.job import Job, Measured, StepClock
from benchmarks.pictures import CLASSES, HEIGHT, SIZE, STRIDES, WIDTH, Boxed, count_found, read_boxed

WORKERS = 2
LEARNING_RATE, MOMENTUM, DECAY = 0.02, 0.9, 1e-4


class _Maps(torch.nn.Module):
    """The trunk's maps of the strides, as torchvision's detectors take them."""

    def __init__(self, trunk: Any) -> None:
        from pretune.backbones.places.stages import find_stages, stages_at

        super().__init__()
        self.trunk = trunk
        stages = stages_at(find_stages(trunk), STRIDES)
        self.numbers, self.channels = [one.state for one in stages], [one.channels for one in stages]

    def forward(self, pixels: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        states = self.trunk(pixels, output_hidden_states=True).hidden_states
        return OrderedDict((str(number), states[number]) for number in self.numbers)


class _Rows(torch.utils.data.Dataset):
    def __init__(self, rows: list[Boxed], *, flips: bool) -> None:
        steps = [v2.PILToTensor(), *([v2.RandomHorizontalFlip()] if flips else []), v2.ToDtype(torch.float, scale=True)]
        self.rows, self.steps = rows, v2.Compose(steps)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Any:
        from PIL import Image
        from torchvision import tv_tensors

        row = self.rows[number]
        picture = Image.open(row.file).convert("RGB")
        boxes = tv_tensors.BoundingBoxes(torch.tensor(row.boxes), format="XYXY", canvas_size=(HEIGHT, WIDTH))  # type: ignore[call-arg]
        return self.steps(picture, {"boxes": boxes, "labels": torch.tensor(row.classes) + 1})


def _collate(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def detect(job: Job) -> Measured:
    from transformers import AutoModel

    torch.manual_seed(job.seed)
    frozen = job.kind == "boxes-frozen"
    maps = _Maps(AutoModel.from_pretrained(job.data / ("taught" if frozen else "trunk")))
    maps.requires_grad_(not frozen)
    boxes = DefaultBoxGenerator([[2]] * len(STRIDES), min_ratio=0.1, max_ratio=0.5)
    head = SSDLiteHead(maps.channels, boxes.num_anchors_per_location(), len(CLASSES) + 1, torch.nn.BatchNorm2d)
    model = SSD(
        maps, boxes, SIZE, len(CLASSES) + 1, head=head, image_mean=[0.5] * 3, image_std=[0.5] * 3, score_thresh=0.01
    )
    data = _Rows(read_boxed(job.data, "train"), flips=not frozen)
    loader = torch.utils.data.DataLoader(
        data, job.plan.picture_batch_size, shuffle=True, num_workers=WORKERS, collate_fn=_collate
    )
    learned = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-3, total_iters=len(loader) - 1)
    model.train()
    maps.train(not frozen)
    clock = StepClock()
    clock.begin()
    for epoch in range(job.epochs):
        for pictures, targets in loader:
            loss = torch.stack(list(model(list(pictures), list(targets)).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if epoch == 0:
                warmup.step()
            clock.step()
    measured = clock.measured(len(data) * job.epochs)
    measured.right, measured.asked = _counted(model, read_boxed(job.data, "test"))
    return measured


def _counted(model: Any, rows: list[Boxed]) -> tuple[int, int]:
    from PIL import Image

    model.eval()
    answers = []
    read = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float, scale=True)])
    for row in rows:
        with torch.inference_mode():
            (found,) = model([read(Image.open(row.file).convert("RGB"))])
        told = zip(found["scores"].tolist(), found["labels"].tolist(), found["boxes"].tolist(), strict=True)
        answers.append([(score, kind - 1, box) for score, kind, box in told])
    return count_found(rows, answers)


SIDES = {"boxes": detect, "boxes-frozen": detect}
