"""Draws as functions: equal where everything is equal, unlike where anything differs, and evenly spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretune.engine.randomness import row_keys, seed_of, torch_generator, uniform

ROWS = np.arange(20_000)


def test_a_seed_depends_on_every_part_and_fits_torch() -> None:
    seeds = {
        seed_of(0, "order", 1),
        seed_of(0, "order", 2),
        seed_of(1, "order", 1),
        seed_of(0, "masks", 1),
        seed_of(0, "order", "1"),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, "order", 1) == seed_of(0, "order", 1) == 2002067703672271585


def test_keys_do_not_depend_on_the_order_or_company_of_rows() -> None:
    keys = row_keys(0, "text", 3, ROWS)
    order = np.random.default_rng(0).permutation(len(ROWS))[:50]
    np.testing.assert_array_equal(row_keys(0, "text", 3, order), keys[order])
    assert len(np.unique(keys)) == len(keys)


def test_keys_differ_by_seed_purpose_and_epoch() -> None:
    base = row_keys(0, "text", 0, ROWS)
    for other in (row_keys(1, "text", 0, ROWS), row_keys(0, "pack", 0, ROWS), row_keys(0, "text", 1, ROWS)):
        assert not np.intersect1d(base, other).size


def test_uniform_is_uniform_in_rows_in_places_and_from_purpose_to_purpose() -> None:
    from scipy.stats import kstest

    keys = row_keys(0, "text", 0, ROWS)
    values = uniform(keys, 6)
    assert values.shape == (len(ROWS), 6)
    assert values.min() >= 0.0
    assert values.max() < 1.0
    for place in range(6):
        assert kstest(values[:, place], "uniform").pvalue > 1e-3
    assert kstest(uniform(keys[:2], 20_000)[0], "uniform").pvalue > 1e-3
    both = np.concatenate([values, uniform(keys, 6, purpose=1)], axis=1)
    correlations = np.corrcoef(both.T) - np.eye(12)
    assert np.abs(correlations).max() < 5 / np.sqrt(len(ROWS))


def test_uniform_of_a_row_does_not_depend_on_how_many_are_asked() -> None:
    keys = row_keys(0, "text", 0, ROWS[:9])
    np.testing.assert_array_equal(uniform(keys, 3), uniform(keys, 50)[:, :3])
    np.testing.assert_array_equal(uniform(keys[4:5], 3)[0], uniform(keys, 3)[4])


@pytest.mark.parametrize("parts", [(0, "loss", 1, 2)])
def test_generators_of_equal_parts_draw_alike(parts: tuple[int | str, ...]) -> None:
    draws = [torch.rand(5, generator=torch_generator(*parts)) for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], torch.rand(5, generator=torch_generator(*parts, 3)))
