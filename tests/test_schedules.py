"""Learning rates over a training are their formulas, and PyTorch's."""

import numpy as np
import pytest
from torch_unet import needs_torch, torch

from jaxseg.schedules import Constant, Cosine, OneCycle, Polynomial

EPOCHS, UPDATES = 5, 200


def rates(schedule, updates=UPDATES, epochs=EPOCHS):
    rate = schedule.rate(0.3, updates, epochs)
    return np.array([rate(update) if callable(rate) else rate for update in range(updates)], np.float64)


def torch_rates(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule, found = make(optimizer), []
    for _ in range(UPDATES):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_constant_is_the_number_itself():
    assert Constant().rate(0.3, UPDATES, EPOCHS) == 0.3


@needs_torch
def test_cosine_is_torchs():
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, UPDATES, eta_min=0.03))
    np.testing.assert_allclose(rates(Cosine(final=0.1)), expected, rtol=1e-5)


@needs_torch
def test_polynomial_is_torchs():
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.PolynomialLR(o, UPDATES, power=0.9))
    np.testing.assert_allclose(rates(Polynomial()), expected, rtol=1e-4)


@needs_torch
def test_one_cycle_is_torchs():
    """Which counts its steps to one less than there are."""
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.3, total_steps=UPDATES + 1, cycle_momentum=False)
    )
    found = rates(OneCycle())
    assert found[0] == pytest.approx(0.3 / 25)
    assert found.max() == pytest.approx(0.3, rel=1e-6)
    np.testing.assert_allclose(found[60:], expected[60:], rtol=0.02, atol=1e-5)
    np.testing.assert_allclose(found[:60], expected[:60], atol=0.3 * 0.03)


def test_one_cycle_is_two_halves_of_a_cosine():
    start, end, update = 0.03, 0.03 / 50, np.arange(UPDATES)
    up = start + (0.3 - start) * (1 - np.cos(np.pi * update / 120)) / 2
    down = end + (0.3 - end) * (1 + np.cos(np.pi * (update - 120) / 80)) / 2
    found = rates(OneCycle(rise=0.6, start=10.0, final=50.0))
    np.testing.assert_allclose(found, np.where(update < 120, up, down), rtol=1e-4)


@pytest.mark.parametrize("schedule", [Constant, Cosine, Polynomial])
def test_a_warm_up_rises_in_a_line_and_then_the_schedule_begins(schedule):
    found, plain = rates(schedule(warmup_epochs=1.0)), rates(schedule(), UPDATES - 40, EPOCHS)
    np.testing.assert_allclose(found[:40], 0.3 * np.arange(1, 41) / 41, rtol=1e-5)
    np.testing.assert_allclose(found[40:], plain, rtol=1e-5)


@pytest.mark.parametrize("schedule", [Constant(9.0), Cosine(9.0), Polynomial(9.0), OneCycle()])
@pytest.mark.parametrize("updates", [1, 2, 7])
def test_short_trainings_have_finite_positive_rates(schedule, updates):
    found = rates(schedule, updates, 1)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.max() > 0
