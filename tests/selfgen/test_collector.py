"""The collector is as it was when self-generation is over, however it ends."""

import gc

import pytest

from nemo_desta.selfgen.collector import rare_collection


def test_the_collector_is_left_as_it_was():
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError), rare_collection():
        assert gc.get_threshold() > before and gc.get_freeze_count() > 1000
        raise ZeroDivisionError
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, frozen)
    assert gc.isenabled()
