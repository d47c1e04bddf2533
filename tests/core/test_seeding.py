import pytest
import torch

from gradbench.core.canonical import canonical, digest
from gradbench.core.seeding import stream


def test_canonical_json_ignores_the_order_of_keys():
    assert canonical({"b": 1, "a": [1.5, None, "φ"]}) == '{"a":[1.5,null,"φ"],"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 2, "b": 2})


def test_canonical_json_refuses_what_json_cannot_say():
    with pytest.raises(ValueError, match="Out of range float"):
        canonical(float("nan"))


def test_digests_do_not_move_between_versions():
    # sha256("{}"): cell ids and stream seeds of stored runs depend on it
    assert digest({}) == "44136fa355b3678a"
    assert len(digest({}, 20)) == 20


def test_a_stream_depends_on_its_name_alone():
    first = torch.rand(3, generator=stream(0, "block", 1))
    torch.rand(100, generator=stream(0, "block", 0))
    assert torch.equal(first, torch.rand(3, generator=stream(0, "block", 1)))


@pytest.mark.parametrize("name", [(1, "block", 1), (0, "block", 2), (0, "pilot", 1), (0, "block", "1"), (0, "block")])
def test_another_name_is_another_stream(name):
    first = torch.rand(3, generator=stream(0, "block", 1))
    assert not torch.equal(first, torch.rand(3, generator=stream(*name)))


def test_a_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=stream(0, "x"))
    assert torch.equal(before, torch.get_rng_state())
