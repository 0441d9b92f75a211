"""Views of an image: copies of it, each moved, cut, coloured or roughened at random.

A view is what the model sees of an image in one step. All that is random in the views of an image comes from that
image's own generator. Transforms that move the image are affine maps; those in a row become one map, through which the
image is sampled once. Where nothing falls between pixels, pixels are moved and not interpolated.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from conceptprobe.visualization.transforms.affine import Affine, Size, resize, sample
from conceptprobe.visualization.transforms.transforms import Changing, Moving, Pad, Transform, whole_pixels


def make_views(
    transforms: Sequence[Transform],
    images_nchw: Tensor,
    generators: Sequence[torch.Generator],
    views: int,
    view_size: Size,
    progress: float,
) -> Tensor:
    """Views of each image, differentiable.

    Where a view shows more pixels of an image than it has, the image is first reduced, antialiased, as far as the view
    that shows least allows, and views that show more still are averages of several samples a pixel.

    Args:
        transforms: In this order. Without any that moves or pads, an image of the views' size is passed on as it is,
            and one of another size is resized.
        generators: One an image, on the images' device. Everything random of an image's views comes from its own.
        view_size: Rows and columns of a view.
        progress: Share of the steps that are done, in [0,1), for what changes over the run.

    Returns:
        [n,views,3,h,w]. The i-th row depends on the i-th image and generator only.
    """
    u_nek = _uniform(generators, views, sum(transform.numbers for transform in transforms), images_nchw)
    spatial = [i for i, t in enumerate(transforms) if isinstance(t, Moving) or (isinstance(t, Changing) and t.spatial)]
    last = spatial[-1] if spatial else -1
    canvas = _Canvas(images_nchw[:, None], images_nchw.shape[-2:])
    if last < 0:
        canvas.resize(view_size)
    waiting: list[tuple[Moving, Tensor]] = []
    for position, transform in enumerate(transforms):
        u_nek, mine = u_nek[..., transform.numbers :], u_nek[..., : transform.numbers]
        if isinstance(transform, Moving):
            waiting.append((transform, mine))
            if position == last or not isinstance(transforms[position + 1], Moving):
                canvas.move(waiting, view_size if position == last else canvas.frame, views, progress)
                waiting = []
            continue
        if isinstance(transform, Pad) and not transform.shown:
            canvas.surround(transform)
        elif isinstance(transform, Changing):
            canvas.change(transform, mine, generators, progress)
        if position == last:
            canvas.resize(view_size)
    return canvas.pixels.expand(-1, views, -1, -1, -1)


class _Canvas:
    """The pixels on the way to the views, and the part of them that counts: the frame.

    Attributes:
        pixels: [n,1,3,h,w], or [n,e,3,h,w] once each view has its own.
        frame: Rows and columns of the part that views show where nothing moves.
        origin: Its top left corner: there are pixels around it where a padding is not shown.
    """

    def __init__(self, pixels_nechw: Tensor, frame: Sequence[int]) -> None:
        self.pixels = pixels_nechw
        self.frame: Size = (frame[0], frame[1])
        self.origin: Size = (0, 0)

    def move(self, moves: Sequence[tuple[Moving, Tensor]], size: Size, views: int, progress: float) -> None:
        affine, smallest, largest = Affine(), 1.0, 1.0
        for transform, u_nek in moves:
            affine = affine.after(transform.affine(u_nek, self.frame, progress))
            low, high = transform.extents(progress)
            smallest, largest = smallest * low, largest * high
        self.pixels = sample(
            self.pixels,
            views,
            affine,
            frame=self.frame,
            origin=self.origin,
            size=size,
            extents=(smallest, largest),
            exact=size == self.frame and all(transform.whole for transform, _ in moves),
        )
        self.frame, self.origin = size, (0, 0)

    def surround(self, pad: Pad) -> None:
        by = whole_pixels(pad.pixels, pad.of, self.frame)
        self.pixels = pad.around(self.pixels, by)
        self.origin = (self.origin[0] + by, self.origin[1] + by)

    def change(
        self, transform: Changing, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> None:
        if transform.spatial:
            self._cut()
        self.pixels = transform.apply(self.pixels, u_nek, generators, progress)
        if transform.spatial:
            self.frame = (self.pixels.shape[3], self.pixels.shape[4])

    def resize(self, size: Size) -> None:
        self._cut()
        if self.frame != size:
            resized = resize(self.pixels.flatten(0, 1), size)
            self.pixels, self.frame = resized.unflatten(0, self.pixels.shape[:2]), size

    def _cut(self) -> None:
        (top, left), (h, w) = self.origin, self.frame
        if self.pixels.shape[-2:] != (h, w):
            self.pixels = self.pixels[..., top : top + h, left : left + w]
        self.origin = (0, 0)


def _uniform(generators: Sequence[torch.Generator], views: int, numbers: int, like: Tensor) -> Tensor:
    u_nek = torch.empty(len(generators), views, numbers, device=like.device)
    if numbers:
        for mine, generator in zip(u_nek, generators, strict=True):
            mine.uniform_(generator=generator)
    return u_nek
