"""Calibration makes clips differ in the connector's output before training, and changes nothing else."""

import torch

from nemo_desta.modules.qformer import QFormerConnector


def _states(clips: int = 6) -> torch.Tensor:
    """Like Whisper's: a large constant part, mostly the same padding, a little that tells clips apart. (C, 2, 50, 48)"""
    generator = torch.Generator().manual_seed(0)
    offset = 5 * torch.randn(1, 2, 1, 48, generator=generator)
    padding = 0.3 * torch.randn(1, 2, 50, 48, generator=generator).expand(clips, -1, -1, -1).clone()
    padding[:, :, :5] = 0.3 * torch.randn(clips, 2, 5, 48, generator=generator)
    return offset + padding


def _connector() -> QFormerConnector:
    torch.manual_seed(0)
    return QFormerConnector(48, 32, num_taps=2, num_queries=4, num_layers=2, num_heads=3)


def _share_between_clips(output: torch.Tensor) -> float:
    return float(output.var(0).mean() / output.square().mean())


@torch.no_grad()
def test_clips_differ_by_the_wanted_spread_and_far_more_than_by_default():
    states, connector = _states(), _connector().eval()
    default = _share_between_clips(connector(states))
    connector.calibrate(states, std=0.1)
    output = connector(states)
    torch.testing.assert_close(float(output.var(0).mean().sqrt()), 0.1, rtol=1e-3, atol=0)
    assert abs(float(output.mean())) < 1e-3
    assert _share_between_clips(output) > 20 * default


def test_calibration_keeps_names_shapes_and_mode():
    connector = _connector().train()
    before = {k: v.shape for k, v in connector.state_dict().items()}
    connector.calibrate(_states(), std=0.1)
    assert {k: v.shape for k, v in connector.state_dict().items()} == before
    assert connector.training
    assert all(p.requires_grad for p in connector.parameters())


@torch.no_grad()
def test_loaded_weights_win_over_calibration():
    states, trained, fresh = _states(), _connector().eval(), _connector().eval()
    fresh.calibrate(states, std=0.1)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(states), trained(states))


@torch.no_grad()
def test_queries_start_around_the_given_words():
    states, connector = _states(), _connector().eval()
    words = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    connector.calibrate(states, std=0.1, words=words)
    torch.testing.assert_close(connector(states).mean(0)[:3], words, rtol=0, atol=1e-4)
