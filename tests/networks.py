"""Small networks with random weights, and images for them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.models.unet import UNet
from jaxseg.torch_weights import to_state_dict

SMALL = (4, 8, 12)


def pixels(seed: int = 0, batch: int = 2, size: tuple[int, int] = (16, 24), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *size, channels)).astype(np.uint8)


def scaled(images: np.ndarray) -> jax.Array:
    return jnp.asarray(images, jnp.float32) / 255


def shapes(model: UNet, channels: int = 3) -> dict:
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, model.stride, model.stride, channels)))


def random_variables(model: UNet, channels: int = 3, seed: int = 0) -> dict:
    """Weights of which none is a 0 or a 1 by default, and the size of what passes stays about the same."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf) -> np.ndarray:
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.8, 1.2, leaf.shape).astype(np.float32)
        size = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim == 4 else 0.1
        return rng.normal(scale=size, size=leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(model, channels))


def state_dict(variables: dict) -> dict[str, np.ndarray]:
    return to_state_dict(variables["params"], variables.get("batch_stats", {}))


def operands(size, seed=0):
    """An image batch, a kernel 3x3 and a gradient; `size`: batch, height, width, channels before and after."""
    batch, height, width, inputs, outputs = size
    rng = np.random.default_rng(seed)
    shapes = (batch, height, width, inputs), (3, 3, inputs, outputs), (batch, height, width, outputs)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]
