"""Another tree of arrays is told name by name."""

import jax
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.likeness import check_arrays


def tree(**changes: object) -> dict[str, object]:
    arrays = {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32), "count": np.zeros((), np.int32)}
    return {"params": {**arrays, **changes}, "opt_state": [{"mu": np.zeros(4, np.float32)}, None]}


def test_the_same_arrays_pass_whatever_their_values() -> None:
    check_arrays(tree(), jax.eval_shape(lambda: jax.tree.map(lambda x: x + 1, tree())), "there", "what is due")


def test_every_difference_is_named() -> None:
    saved = tree(bias=np.zeros(3, np.float64), renamed=np.zeros(5, np.float32))
    del saved["params"]["kernel"]  # pyright: ignore[reportIndexIssue]
    saved["opt_state"] = [{"mu": np.zeros(4, np.float16)}]
    with pytest.raises(InputError) as caught:
        check_arrays(tree(), saved, "there", "what is due")
    assert str(caught.value).splitlines() == [
        "there does not hold what is due:",
        "  missing: params/kernel (3, 2) float32",
        "  extra: params/renamed (5,) float32",
        "  of another type: opt_state/0/mu is float16, expected float32",
        "  misshapen: params/bias is (3,), expected (2,)",
        "  of another type: params/bias is float64, expected float32",
    ]


def test_hundreds_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        check_arrays({}, {f"array{n}": np.zeros(1) for n in range(300)}, "there", "what is due")
    assert len(str(caught.value).splitlines()) == 301
