"""The chunked loss is the plain one: values, gradients and hits, whatever the chunk."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from nemo_desta.models.loss import target_loss


def _case(count: int, bias: bool = False, dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=bias, dtype=dtype).requires_grad_(False)
    return torch.randn(count, 8, dtype=dtype, requires_grad=True), head, torch.randint(50, (count,))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_do_not_show(chunk, bias):
    hidden, head, labels = _case(7, bias)
    total, hits = target_loss(hidden, head, labels, chunk)
    (total * 0.5).backward()
    expected = hidden.detach().clone().requires_grad_(True)
    logits = head(expected)
    plain = cross_entropy(logits, labels, reduction="sum")
    (plain * 0.5).backward()
    torch.testing.assert_close(total, plain)
    torch.testing.assert_close(hidden.grad, expected.grad)
    assert hits == (logits.argmax(-1) == labels).sum()


def test_the_gradient_is_right_numerically():
    hidden, head, labels = _case(5, dtype=torch.float64)
    torch.autograd.gradcheck(
        lambda h: target_loss(h, head.double(), labels, 2)[0].double(), (hidden,), atol=1e-3, eps=1e-3
    )


def test_half_precision_sums_in_full():
    hidden, head, labels = _case(600, dtype=torch.bfloat16)
    total, _ = target_loss(hidden, head, labels)
    assert total.dtype == torch.float32
    plain = cross_entropy(head(hidden.detach()).float(), labels, reduction="sum")
    torch.testing.assert_close(total.detach(), plain, rtol=1e-5, atol=0)


def test_no_targets_no_loss():
    hidden, head, labels = _case(0)
    total, hits = target_loss(hidden, head, labels)
    total.backward()
    assert total == 0 and hits == 0 and hidden.grad.shape == (0, 8)


def test_logits_of_one_chunk_exist_at_a_time(monkeypatch):
    from nemo_desta.models import loss

    rows = []
    plain = loss.linear
    monkeypatch.setattr(loss, "linear", lambda x, *more: rows.append(len(x)) or plain(x, *more))
    hidden, head, labels = _case(10)
    target_loss(hidden, head, labels, 4)
    assert rows == [4, 4, 2]
