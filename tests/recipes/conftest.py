"""Clips of the demo corpus, planned once for all tests of the recipes."""

import pytest

from nemo_desta.recipes.plan import ClipPlan, plan_corpus


@pytest.fixture(scope="session")
def plans() -> list[ClipPlan]:
    return plan_corpus(480, seed=0)
