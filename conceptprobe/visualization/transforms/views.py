"""Views of an image: randomly transformed copies, which the model sees in one step.

All random numbers of an image's views come from the generator of this image. Consecutive transforms that move the image
are composed to one affine map, through which the image is sampled once. Shifts by whole pixels are not interpolated.
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

    Where a view shows more pixels of an image than it has itself, the image is first reduced, antialiased, as far as
    the view that shows least allows. Views that show still more are averages of several samples for each pixel.

    Args:
        transforms: The transforms in their order. Where none moves or pads, images are only resized to the view size.
        images_nchw: n images.
        generators: n generators on the images' device.
        views: Number of views of each image.
        view_size: Rows and columns of a view.
        progress: Share of the steps that are done, in [0,1), for transforms that change during the run.

    Returns:
        [n,views,3,h,w]. Row i depends on image i and generator i only.
    """
    u_nek = _uniform(generators, views, sum(transform.numbers for transform in transforms), images_nchw)
    spatial = [i for i, t in enumerate(transforms) if isinstance(t, Moving) or (isinstance(t, Changing) and t.spatial)]
    last = spatial[-1] if spatial else -1
    canvas = _Canvas(images_nchw[:, None], images_nchw.shape[-2:])
    if last < 0:
        canvas.resize(view_size)
    waiting: list[tuple[Moving, Tensor]] = []
    for position, transform in enumerate(transforms):
        u_nek, numbers_nek = u_nek[..., transform.numbers :], u_nek[..., : transform.numbers]
        if isinstance(transform, Moving):
            waiting.append((transform, numbers_nek))
            if position == last or not isinstance(transforms[position + 1], Moving):
                canvas.move(waiting, view_size if position == last else canvas.frame, views, progress)
                waiting = []
            continue
        if isinstance(transform, Pad) and not transform.shown:
            canvas.surround(transform)
        elif isinstance(transform, Changing):
            canvas.change(transform, numbers_nek, generators, progress)
        if position == last:
            canvas.resize(view_size)
    return canvas.pixels.expand(-1, views, -1, -1, -1)


class _Canvas:
    """The pixels between two transforms, and the frame in them that views show where nothing moves.

    Attributes:
        pixels: [n,1,3,h,w], or [n,e,3,h,w] once the views differ.
        frame: Rows and columns of the frame.
        origin: Row and column of the frame's top left corner; a padding that is not shown lies around the frame.
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
        for row_ek, generator in zip(u_nek, generators, strict=True):
            row_ek.uniform_(generator=generator)
    return u_nek
