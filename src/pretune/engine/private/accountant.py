"""What training with noise gives away: epsilon at a given delta, by two accountants that share no line.

An update of private training draws each unit (a row, or all rows of a person) with probability ``rate`` and adds Gaussian noise of
``noise`` times the clip norm: the Poisson-subsampled Gaussian mechanism, for neighbours that differ in one unit more or less. Its
privacy loss is a random variable, and that of many updates their sum.

The accountant that says how much noise a run needs is Google's ``dp-accounting`` (the extra ``pretune[privacy]``), which rounds privacy losses
upwards, so that its epsilon is never too small. :func:`epsilon_by_fourier` computes the same number in another way and is what checks it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pretune.errors import CheckFailed, UsageError

__all__ = ["Mechanism", "agreed_epsilon", "epsilon_by_fourier", "epsilon_of", "import_accounting", "noise_for"]

_LEAST_NOISE, _MOST_NOISE = 0.2, 1e4
_CLOSE = 1e-3
"""How much more noise than needed is taken at most."""

_AGREE = 0.01
_BINS = 2**18
_NEAREST, _FARTHEST = 16.0, 2**11


class Mechanism(NamedTuple):
    """``steps`` updates, each with a share ``rate`` of the units drawn and noise of ``noise`` times the clip norm."""

    noise: float
    rate: float
    steps: int


def import_accounting() -> Any:
    """The library. Raises :class:`UsageError` where it is not installed."""
    try:
        import dp_accounting
    except ImportError as error:
        raise UsageError(
            f"--dp-epsilon needs dp-accounting to count what is given away: {error}", "pip install 'pretune[privacy]'"
        ) from None
    return dp_accounting


def epsilon_of(mechanism: Mechanism, delta: float) -> float:
    """Epsilon at ``delta`` by dp-accounting's privacy loss distributions (Koskela, Jaelkoe & Honkela 2020, arXiv 1906.03049; Doroshenko
    et al. 2022, arXiv 2207.04380). Raises :class:`UsageError` without that library.
    """
    dp = import_accounting()
    if mechanism.steps == 0:
        return 0.0
    event = dp.PoissonSampledDpEvent(mechanism.rate, dp.GaussianDpEvent(mechanism.noise))
    return float(dp.pld.PLDAccountant().compose(event, mechanism.steps).get_epsilon(delta))


def noise_for(epsilon: float, delta: float, *, rate: float, steps: int) -> float:
    """The least noise (to a thousandth) with which ``steps`` updates give away at most ``epsilon`` at ``delta``.

    Raises :class:`UsageError` where no sensible noise is enough.
    """
    low, high = _LEAST_NOISE, 2 * _LEAST_NOISE
    while _exceeds(Mechanism(high, rate, steps), delta, epsilon):
        low, high = high, 2 * high
        if high > _MOST_NOISE:
            raise UsageError(
                f"--dp-epsilon {epsilon:g} at a delta of {delta:g} cannot be kept over {steps:,} updates",
                "give a larger --dp-epsilon or --dp-delta, or fewer --epochs",
            )
    while high > low * (1 + _CLOSE):  # the quick accountant narrows, the careful one decides
        middle = math.sqrt(low * high)
        is_little = _exceeds(Mechanism(middle, rate, steps), delta, epsilon)
        low, high = (middle, high) if is_little else (low, middle)
    while epsilon_of(Mechanism(high, rate, steps), delta) > epsilon:
        high *= 1 + _CLOSE
    return high


def agreed_epsilon(mechanism: Mechanism, delta: float) -> tuple[float, float]:
    """Epsilon by both accountants. Raises :class:`CheckFailed` where they are further apart than 1 %."""
    careful, quick = epsilon_of(mechanism, delta), epsilon_by_fourier(mechanism, delta)
    if abs(careful - quick) > _AGREE * max(careful, 0.01):
        raise CheckFailed(
            f"two accountants disagree: epsilon is {careful:.4g} by dp-accounting and {quick:.4g} by Fourier transform",
            "no guarantee is given; please report this with the command",
        )
    return careful, quick


def epsilon_by_fourier(mechanism: Mechanism, delta: float) -> float:
    """Epsilon at ``delta``: the privacy loss of one update on a grid whose mean is that of the loss itself, convolved with itself by fast Fourier
    transform (Gopi, Lee & Wutschitz 2021, arXiv 2106.02848, algorithms 1 and 2), for one unit less and for one more.
    """
    reach = _NEAREST
    while True:
        found = max(_epsilon(mechanism, delta, reach, is_more) for is_more in (True, False))
        if found < reach / 2 or reach >= _FARTHEST:
            return found
        reach *= 2


def _exceeds(mechanism: Mechanism, delta: float, epsilon: float) -> bool:
    """Does it give away more than ``epsilon``? One grid that reaches far beyond it is enough to say."""
    reach = max(_NEAREST, 4 * epsilon)
    return max(_epsilon(mechanism, delta, reach, is_more) for is_more in (True, False)) > epsilon


def _epsilon(mechanism: Mechanism, delta: float, reach: float, is_more: bool) -> float:
    """The least epsilon on the grid over [-reach, reach) at which no more than ``delta`` of the sum's mass speaks against it."""
    width = 2 * reach / _BINS
    losses = width * (np.arange(_BINS) - _BINS // 2)
    below = _loss_below(mechanism, np.append(losses - width / 2, losses[-1] + width / 2), is_more)
    mass = np.diff(below)
    mass[0], mass[-1] = mass[0] + below[0], mass[-1] + 1 - below[-1]
    # Rounding moves the mean a little, and many updates add that up: their sum is moved back.
    shift = _mean_loss(mechanism, reach, is_more) - float(mass @ losses)
    spectrum = np.fft.rfft(np.fft.ifftshift(mass))
    summed = np.maximum(np.fft.fftshift(np.fft.irfft(spectrum**mechanism.steps, _BINS)), 0.0)
    return _least_epsilon(losses + mechanism.steps * shift, summed, delta)


def _least_epsilon(losses_K: np.ndarray, mass_K: np.ndarray, delta: float) -> float:
    """The least epsilon >= 0 with delta(epsilon) <= ``delta``, which is the sum over larger losses of mass x (1 - exp(epsilon - loss))."""
    is_loss_K = losses_K >= 0
    losses_k, mass_k = losses_K[is_loss_K], mass_K[is_loss_K]
    above_k = np.cumsum(mass_k[::-1])[::-1]
    scaled_k = np.cumsum((mass_k * np.exp(-losses_k))[::-1])[::-1]
    with np.errstate(over="ignore", invalid="ignore"):
        enough = np.flatnonzero(above_k - np.exp(losses_k) * scaled_k <= delta)
    return float(losses_k[enough[0]]) if len(enough) else float(losses_k[-1])


def _loss_below(mechanism: Mechanism, losses: np.ndarray, is_more: bool) -> np.ndarray:
    """P(privacy loss of one update <= each of ``losses``)."""
    from scipy.stats import norm

    noise, rate, _ = mechanism
    if is_more:  # the unit is there: outputs are drawn from the mixture
        at = _output_at(mechanism, losses)
        return (1 - rate) * norm.cdf(at / noise) + rate * norm.cdf((at - 1) / noise)
    return norm.sf(_output_at(mechanism, -losses) / noise)


def _output_at(mechanism: Mechanism, losses: np.ndarray) -> np.ndarray:
    """The output (in clip norms) at which log(mixture / plain) is this; -inf where it never is so small."""
    noise, rate, _ = mechanism
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        odds = (np.exp(losses) - (1 - rate)) / rate
        at = noise**2 * np.log(np.maximum(odds, 0.0)) + 0.5
    return np.where(odds > 0, at, -np.inf)


def _mean_loss(mechanism: Mechanism, reach: float, is_more: bool) -> float:
    """The mean privacy loss of one update, held to the grid: an integral over outputs by the trapezoidal rule."""
    from scipy.integrate import trapezoid
    from scipy.stats import norm

    noise, rate, _ = mechanism
    outputs = np.linspace(-12 * noise, 1 + 12 * noise, 200_001)
    without = math.log1p(-rate) if rate < 1 else -math.inf
    losses = np.logaddexp(without, math.log(rate) + (2 * outputs - 1) / (2 * noise**2))
    plain = norm.pdf(outputs, scale=noise)
    density = (1 - rate) * plain + rate * norm.pdf(outputs, 1, noise) if is_more else plain
    return float(trapezoid(np.clip(losses if is_more else -losses, -reach, reach) * density, outputs))
