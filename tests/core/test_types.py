import torch

from gradbench.core.types import hold, holding, live, watching
from gradbench.families.gaussian import Gaussian


def gradient_through(mark, **context) -> float:
    x = torch.tensor(3.0, requires_grad=True)
    with holding(**context):
        y = x + mark(x * x, "square")
    (found,) = torch.autograd.grad(y, x)
    return float(found)


def test_hold_cuts_the_gradient_and_keeps_the_value():
    x = torch.tensor(3.0, requires_grad=True)
    assert hold(x * x, "square") == 9
    assert gradient_through(hold) == 1  # without the hold: 1 + 2·3


def test_a_dropped_hold_lets_the_gradient_through():
    assert gradient_through(hold, drop=frozenset({"square"})) == 7
    assert gradient_through(hold, drop=frozenset({"another"})) == 1


def test_live_leaves_the_gradient_until_it_is_held():
    assert gradient_through(live) == 7
    assert gradient_through(live, add=frozenset({"square"})) == 1
    assert gradient_through(live, add=frozenset({"another"})) == 7


def test_holding_ends_with_its_context():
    assert gradient_through(hold, drop=frozenset({"square"})) == 7
    assert gradient_through(hold) == 1


def test_hold_reaches_every_tensor_of_a_posterior():
    loc = torch.zeros(1, 1, 1, 2, requires_grad=True)
    q = Gaussian(loc=loc, scale=loc.exp())
    assert not any(value.requires_grad for value in hold(q, "q").parameters.values())
    with holding(drop=frozenset({"q"})):
        assert all(value.requires_grad for value in hold(q, "q").parameters.values())


def test_watching_names_each_factor_and_whether_it_is_held():
    x = torch.ones(1)
    with watching() as seen:
        hold(x, "a")
        live(x, "b")
    hold(x, "after")
    assert seen == {"a": True, "b": False}
