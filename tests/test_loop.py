"""The compiled steps are the pure ones."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxseg.config import Config
from jaxseg.data.samples import Data
from jaxseg.loop import compile_steps
from jaxseg.models.unet import UNet
from jaxseg.sharding import data_parallel
from jaxseg.step import create_state


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_first_state_has_the_same_bits_however_it_is_compiled(norm):
    config = Config(data=Data(height=16, width=16), model=UNet((4, 8, 12), out_channels=1, norm=norm), batch_size=2)
    quickly = compile_steps(config, data_parallel(2)).create(jax.random.key(3))
    create = partial(create_state, model=config.model, optimizer=config.transformation(1), image_shape=(16, 16, 3))
    jax.tree.map(np.testing.assert_array_equal, quickly, jax.jit(create)(jax.random.key(3)))
