"""The tracker leaves no trace in training, and its rows make one run; assertions for tests."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

import gradbench as gb
from tests.losses.toys import Autoencoder, Quadratic

FEW = {"replicates": 64, "blocks": 8}


def trained(tracker_of) -> tuple[nn.Module, list[float], gb.Tracker | None]:
    """A short training with dropout, BatchNorm, Adam and minibatches; with whatever ``tracker_of`` makes."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(16, 3)
    tracker, found = tracker_of(model, x), []
    for step in range(7):
        optimiser.zero_grad()
        loss = model(x[torch.randperm(16)[:8]]).square().mean()
        loss.backward()
        if tracker is not None:
            tracker(step)
        optimiser.step()
        found.append(loss.item())
    return model, found, tracker


def test_training_goes_on_to_the_bit_as_without_it(tmp_path):
    model, losses, _ = trained(lambda model, x: None)

    def tracking(model: nn.Module, x: torch.Tensor) -> gb.Tracker:
        loss = {"noisy": lambda: model(x + torch.randn_like(x)).square().mean()}
        return gb.Tracker(loss, model, every=3, out=tmp_path / "run", **FEW)

    same, found, tracker = trained(tracking)
    assert found == losses
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))
    assert tracker is not None
    frame = gb.load(tmp_path / "run")
    assert frame[frame.group == "all"].train_steps.tolist() == [0, 3, 6]
    assert frame.seconds.notna().all()
    assert frame.cell_id.nunique() == 3
    pd.testing.assert_frame_equal(frame, tracker.frame)
    with pytest.raises(gb.UsageError, match="step 6 was measured already"):
        tracker.at(6)


def test_a_tracker_that_cannot_track_says_so(tmp_path):
    toy = Quadratic()
    with pytest.raises(gb.UsageError, match="every: expected a number of steps"):
        gb.Tracker(toy.pathwise, toy.parameters, every=0)
    with pytest.raises(gb.UsageError, match="nothing was measured yet"):
        gb.Tracker(toy.pathwise, toy.parameters).save(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(gb.RunError, match="is there already"):
        gb.Tracker(toy.pathwise, toy.parameters, out=tmp_path / "file")


def test_what_is_unbiased_passes():
    toy = Quadratic()
    gb.testing.assert_unbiased(toy.pathwise, toy.parameters, toy.exact, within=0.1)
    gb.assert_unbiased(toy.pathwise, toy.parameters, toy.gradient(), within=0.1)


@pytest.mark.parametrize(
    ("name", "said"),
    [("kl_twice", "in phi.encoder.weight"), ("sampled", "in phi.encoder.bias"), ("summed", "it is 4 × the reference")],
)
def test_what_is_biased_is_located(name, said):
    model = Autoencoder()
    with pytest.raises(AssertionError, match=said):
        gb.assert_unbiased(getattr(model, name), model, model.loss)


def test_what_is_unclear_takes_more_replicates():
    toy = Quadratic()
    with pytest.raises(AssertionError, match=r"none is excluded within 0.01 in .* it would take about \d+ replicates"):
        gb.assert_unbiased(toy.score, toy.parameters, toy.exact, within=0.01, replicates=1024)
    with pytest.raises(gb.UsageError, match="held against a reference"):
        gb.assert_unbiased(toy.score, toy.parameters)


def test_less_variance_is_told_from_more():
    toy = Quadratic()
    gb.assert_less_variance(toy.pathwise, toy.score, toy.parameters)
    with pytest.raises(AssertionError, match=r"the variance of score is not below that of pathwise: it is \d+"):
        gb.assert_less_variance(toy.score, toy.pathwise, toy.parameters)
    with pytest.raises(AssertionError, match=r"is not below 0\.01 × that of score"):
        gb.assert_less_variance(toy.pathwise, toy.score, toy.parameters, factor=0.01)
