"""Batches, decoded exactly and fast."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.images import decode, load_images
from conceptprobe.indexing import build_index
from conceptprobe.indexing.storage.manifest import Counts
from conceptprobe.indexing.streaming import loader as loading
from conceptprobe.indexing.streaming.loader import fast_decoder, load_batches
from conceptprobe.models import load_model
from conceptprobe.models.preprocessing import Preprocessing

SIZE = 32
PREPROCESSING = {
    mode: Preprocessing(size=(SIZE, SIZE), resize=(40, 40), mean=(0.5,) * 3, std=(0.5,) * 3, mode=mode)
    for mode in ("shortest", "longest", "squash")
}
CLOSE = 5  # grey levels; an image that is turned or cut otherwise is off by tens
CPU = torch.device("cpu")


def photo(width, height, seed):
    """Waves of all lengths, the long ones strongest, as in photographs."""
    generator = np.random.default_rng(seed)
    lengths = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / width
    waves = np.fft.irfft2(np.exp(2j * np.pi * generator.random((3, *lengths.shape))) / lengths**1.2, (height, width))
    waves = waves / waves.std((1, 2), keepdims=True)
    return Image.fromarray(np.clip(128 + 45 * waves, 0, 255).astype(np.uint8).transpose(1, 2, 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven images of several formats, shapes and orientations, of which three are bad."""
    root = tmp_path_factory.mktemp("images")
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(400, 300, 0).save(root / "a.jpg", quality=95)
    photo(300, 400, 1).save(root / "b.jpg", quality=95, exif=turned)
    photo(64, 48, 2).save(root / "c.png")
    photo(200, 90, 3).convert("CMYK").save(root / "d.jpg", quality=95)
    (root / "e.jpg").write_bytes((root / "a.jpg").read_bytes()[:5000])
    (root / "f.jpg").write_bytes(b"")
    photo(640, 480, 4).convert("L").save(root / "g.jpg", quality=95)
    (root / "h.jpg").write_bytes(b"<html>")
    photo(2000, 50, 5).save(root / "i.jpg", quality=95)
    photo(1000, 800, 6).save(root / "j.webp", quality=95)
    photo(20, 30, 7).save(root / "k.jpg", quality=95)
    return root


def batches(folder, preprocess, *, fast, workers=0, size=4, first=0, device=None):
    source = load_images(f"folder:{folder}", fast_decode=fast)
    return list(
        load_batches(
            source, preprocess, size=size, shape=(SIZE, SIZE), workers=workers, pin=False, first=first, device=device
        )
    )


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.number, a.hashes, a.bad) == (b.number, b.hashes, b.bad)
        assert np.array_equal(a.rows, b.rows)
        assert np.array_equal(a.good, b.good)
        assert torch.equal(a.pixels_bchw, b.pixels_bchw)


@pytest.mark.parametrize("fast", [False, True])
def test_batches_are_full_and_bad_images_are_zeros(folder, fast):
    first, second, third = batches(folder, PREPROCESSING["shortest"], fast=fast)
    assert [batch.good.tolist() for batch in (first, second, third)] == [[0, 1, 2, 3], [2], [0, 1, 2]]
    assert second.bad == ((4, "truncated"), (5, "empty file"), (7, "not an image"))
    assert third.rows.tolist() == [8, 9, 10]
    for batch in (first, second, third):
        assert batch.pixels_bchw.shape == (4, 3, SIZE, SIZE)
        assert batch.pixels_bchw.dtype == torch.float32
        assert batch.pixels_bchw.amax((1, 2, 3)).gt(0).nonzero().ravel().tolist() == batch.good.tolist()
        assert batch.pixels_bchw.max() <= 1


@pytest.mark.parametrize("fast", [False, True])
def test_workers_and_starts_do_not_matter(folder, fast):
    alone = batches(folder, PREPROCESSING["shortest"], fast=fast)
    assert_same(batches(folder, PREPROCESSING["shortest"], fast=fast, workers=2), alone)
    assert_same(batches(folder, PREPROCESSING["shortest"], fast=fast, first=2), alone[2:])


@pytest.mark.parametrize("mode", PREPROCESSING)
def test_fast_pixels_are_close(folder, mode):
    exact, fast = (batches(folder, PREPROCESSING[mode], fast=fast, size=11)[0] for fast in (False, True))
    assert fast.hashes == exact.hashes
    difference = (fast.pixels_bchw - exact.pixels_bchw).abs() * 255
    assert difference.mean((1, 2, 3)).max() < CLOSE
    whole = [2, 9, 10]  # a PNG, a WebP and a JPEG that is small already
    assert difference[whole].max() <= 1.001
    assert difference.max() > 0


@pytest.mark.parametrize("mode", PREPROCESSING)
def test_the_faster_decoder_changes_nothing(folder, monkeypatch, mode):
    pytest.importorskip("simplejpeg")
    faster = batches(folder, PREPROCESSING[mode], fast=True)
    monkeypatch.setattr(decode, "simplejpeg", None)
    assert_same(batches(folder, PREPROCESSING[mode], fast=True), faster)


@pytest.mark.parametrize("mode", PREPROCESSING)
def test_workers_send_bytes_and_batches_hold_what_preprocess_gives(folder, mode):
    source = load_images(f"folder:{folder}")
    dataset = loading._Batches(source, PREPROCESSING[mode], 4, (SIZE, SIZE), CPU)
    assert dataset[0].batch.pixels_bchw.dtype == torch.uint8
    for batch in batches(folder, PREPROCESSING[mode], fast=False):
        for place in batch.good.tolist():
            expected = PREPROCESSING[mode](source.load(int(batch.rows[place])).image)
            assert torch.equal(batch.pixels_bchw[place], expected)


def test_another_preprocessing_than_a_models_own_is_left_alone(folder):
    exact, fast = (batches(folder, lambda image: PREPROCESSING["squash"](image), fast=fast) for fast in (False, True))
    assert_same(fast, exact)


def test_what_the_manifest_says(folder):
    exact, fast = (load_images(f"folder:{folder}", fast_decode=fast) for fast in (False, True))
    assert fast_decoder(exact, PREPROCESSING["squash"], CPU) is None
    assert fast_decoder(fast, PREPROCESSING["squash"], CPU) == "scaled"


@pytest.fixture
def gpu_on_cpu(monkeypatch):
    """The way of a GPU that decodes, on the CPU; the sizes of the batches that are given to it."""
    decoded = []
    original = loading.decode_jpegs
    monkeypatch.setattr(loading, "has_nvjpeg", lambda device: True)
    monkeypatch.setattr(
        loading, "decode_jpegs", lambda jpegs, device: decoded.append(len(jpegs)) or original(jpegs, device)
    )
    return decoded


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("workers", [0, 2])
def test_jpegs_are_left_to_a_gpu(folder, gpu_on_cpu, mode, workers):
    exact = batches(folder, PREPROCESSING[mode], fast=False)
    left = batches(folder, PREPROCESSING[mode], fast=True, device=CPU, workers=workers)
    assert gpu_on_cpu == [1, 1, 2]  # a; g; i and k: b is turned, d is CMYK, the others are no JPEGs or bad
    for a, b in zip(left, exact, strict=True):
        assert (a.hashes, a.bad) == (b.hashes, b.bad)
        assert (a.pixels_bchw - b.pixels_bchw).abs().mean((1, 2, 3)).max() * 255 < CLOSE
    assert (left[2].pixels_bchw - exact[2].pixels_bchw).abs()[2].max() * 255 <= 3.001  # as whole as the exact one
    source = load_images(f"folder:{folder}", fast_decode=True)
    assert fast_decoder(source, PREPROCESSING[mode], CPU) == "nvjpeg"
    assert fast_decoder(source, PREPROCESSING["longest"], CPU) == "scaled"


def test_a_mode_that_scales_no_tensors_is_left_to_the_workers(folder, gpu_on_cpu):
    batches(folder, PREPROCESSING["longest"], fast=True, device=CPU)
    assert gpu_on_cpu == []


def test_jpegs_that_a_gpu_cannot_decode_come_from_the_cpu(folder, tmp_path, gpu_on_cpu, monkeypatch):
    folder = shutil.copytree(folder, tmp_path / "images")
    data = bytearray((folder / "a.jpg").read_bytes())
    data[data.index(b"\xff\xc0") + 9] = 200  # as many components as no decoder takes
    (folder / "a.jpg").write_bytes(data)
    monkeypatch.setattr(loading, "is_plain_jpeg", lambda data: data[:2] == b"\xff\xd8")
    exact = batches(folder, PREPROCESSING["shortest"], fast=False)
    left = batches(folder, PREPROCESSING["shortest"], fast=True, device=CPU)
    assert gpu_on_cpu[:4] == [3, 1, 1, 1]  # together, then one by one
    for a, b in zip(left, exact, strict=True):
        assert np.array_equal(a.good, b.good)
        assert (a.hashes, a.bad) == (b.hashes, b.bad)


def test_an_index_says_that_it_was_decoded_fast(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("indices")
    model = load_model("mini:supervised")
    indices = {}
    for fast in (False, True):
        source = load_images(f"folder:{folder}", fast_decode=fast)
        indices[fast] = build_index(
            model, source, "blocks.0.mlp.hidden", out / str(fast), k=3, workers=0, vectors=False
        )
    exact, fast = (indices[way].manifest for way in (False, True))
    assert exact.source.fast_decode is None
    assert fast.source.fast_decode == "scaled"
    assert fast.source.fingerprint != exact.source.fingerprint
    assert fast.counts == exact.counts == Counts(11, 8, 3)
    assert indices[True].skipped.equals(indices[False].skipped)
    assert indices[True].images.equals(indices[False].images)
    assert not indices[True].stats("blocks.0.mlp.hidden").equals(indices[False].stats("blocks.0.mlp.hidden"))
