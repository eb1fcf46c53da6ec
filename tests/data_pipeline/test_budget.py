"""The token budget holds for every batch, padded or packed, and nothing is lost to it."""

import random
import warnings
from types import SimpleNamespace

import pytest
from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler, DynamicCutSampler

from nemo_desta.data.budget import TokenBudget, within

BUDGET = 1000


def example(number, length):
    return SimpleNamespace(id=str(number), total_length=length, custom={})


def group(number, lengths):
    members = [example(f"{number}.{i}", n) for i, n in enumerate(lengths)]
    return SimpleNamespace(id=str(number), members=members, total_length=sum(lengths), custom={})


def examples(kind, seed=0):
    rng = random.Random(seed)
    for number in range(400):
        if kind == "groups":
            yield group(number, [rng.randint(10, 300) for _ in range(rng.randint(1, 4))])
        else:
            yield example(number, rng.randint(10, 300))


def members(batch):
    return [m for e in batch for m in getattr(e, "members", [e])]


def cost(batch, packed):
    sizes = [m.total_length for m in members(batch)]
    return sum(sizes) if packed else len(sizes) * max(sizes)


class Items(CutSet):
    """Lhotse's container, of examples that are no cuts."""


def draw(sampler_class, kind, packed, **options):
    budget = TokenBudget(BUDGET, packed=packed, **options)
    extra = {"num_buckets": 5} if sampler_class is DynamicBucketingSampler else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = sampler_class(Items(list(examples(kind))), constraint=budget, shuffle=True, **extra)
        return [part for batch in sampler for part in within(budget, batch)]


@pytest.mark.parametrize("sampler_class", [DynamicCutSampler, DynamicBucketingSampler])
@pytest.mark.parametrize("kind", ["records", "groups"])
@pytest.mark.parametrize("packed", [False, True])
def test_it_holds_and_every_record_comes_once(sampler_class, kind, packed):
    batches = draw(sampler_class, kind, packed)
    assert max(cost(b, packed) for b in batches) <= BUDGET
    seen = sorted(m.id for b in batches for m in members(b))
    assert seen == sorted(m.id for e in examples(kind) for m in members([e]))


def test_packed_rows_are_nearly_full():
    batches = draw(DynamicCutSampler, "records", True)
    used = sum(cost(b, True) for b in batches) / (BUDGET * len(batches))
    assert used > 0.75, "Lhotse's own measure, padding included, would stop at about half"


def test_a_penalty_on_length_makes_batches_of_long_records_smaller():
    def longest(**options):
        return [len(b) for b in draw(DynamicBucketingSampler, "records", False, **options) if b[0].total_length > 240]

    assert max(longest(quadratic_factor=200)) < max(longest())


def test_the_number_of_examples_is_bounded_too():
    assert max(len(b) for b in draw(DynamicCutSampler, "records", True, examples=3)) == 3


def test_other_constraints_are_left_alone():
    batch = CutSet([example(0, 10**6)])
    assert list(within(None, batch)) == [batch]
