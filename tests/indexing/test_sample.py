import numpy as np
import torch

from conceptprobe.indexing.sample import QUANTILES, Sample, sampled_rows

IDS = [f"image-{i:05d}" for i in range(3000)]


def test_the_sample_is_of_ids_not_of_places() -> None:
    chosen = {IDS[row] for row in sampled_rows(IDS, 100)}
    shuffled = list(np.random.default_rng(0).permutation(IDS))
    assert {shuffled[row] for row in sampled_rows(shuffled, 100)} == chosen


def test_the_sample_of_a_union_is_in_the_samples_of_its_parts() -> None:
    parts = {id_ for half in (IDS[:1700], IDS[1700:]) for id_ in (half[row] for row in sampled_rows(half, 100))}
    assert {IDS[row] for row in sampled_rows(IDS, 100)} <= parts


def test_the_sample_is_uniform_over_the_listing() -> None:
    rows = sampled_rows(IDS, 600)
    counts = np.histogram(rows, bins=6, range=(0, 3000))[0]
    assert (np.abs(counts - 100) < 40).all()  # four standard deviations


def test_quantiles_are_exact_when_every_image_is_sampled() -> None:
    values = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    values[::9, 2] = np.nan
    values[3, 1] = np.inf
    sample = Sample(np.arange(500), 4)
    for part in np.array_split(np.random.default_rng(1).permutation(500), 6):
        part = np.sort(part)
        sample.add(torch.from_numpy(values[part]), part)
    finite = np.where(np.isfinite(values), values, np.nan)
    np.testing.assert_allclose(sample.quantiles(), np.nanquantile(finite, QUANTILES, axis=0), rtol=1e-6)


def test_only_sampled_rows_are_kept() -> None:
    sample = Sample(np.array([2, 5, 9]), 1)
    sample.add(torch.arange(8.0)[:, None], np.arange(8))
    np.testing.assert_array_equal(sample.values_nf[:, 0], [2, 5, np.nan])
    other = Sample(np.array([2, 5, 9]), 1)
    other.add(torch.tensor([[9.0]]), np.array([9]))
    sample.merge(other)
    np.testing.assert_array_equal(sample.values_nf[:, 0], [2, 5, 9])
