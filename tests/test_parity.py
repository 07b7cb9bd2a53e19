"""The same weights and batches give the same training in jaxseg and in PyTorch."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
import pytest
from batches import random_batch
from torch_unet import TorchUNet, flat, load_strictly, needs_torch, to_variables, torch, torch_images

from jaxseg.arrays import VOID, Batch
from jaxseg.data.loader import train_batches
from jaxseg.data.samples import Data, open_split
from jaxseg.losses import CrossEntropy
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.step import create_state, eval_step, forward, train_step
from jaxseg.torch_weights import to_state_dict

pytestmark = needs_torch
STEPS = 20
WIDTHS = (8, 16, 24, 32, 40)
GAIN = 6**0.5
"""He's first weights over PyTorch's default. With the default a gradient fades on its way through five levels of so
narrow a network, until the lowest layers move by less than float32 can tell of their weights."""


def random_batches(classes: int = 2) -> Iterator[Batch]:
    """Some pixels of them are void."""
    return (random_batch(seed, 2, (32, 48), classes=classes) for seed in range(STEPS))


def photographs(root) -> Iterator[Batch]:
    samples = open_split(Data(root=root, classes=("person",), height=64, width=96), "train")
    with train_batches(samples, 2, seed=0) as batches:
        for _, loaded in zip(range(STEPS), batches, strict=False):
            yield loaded.batch


def torch_loss(logits, batch: Batch):
    """Binary for one channel, cross-entropy for several: the mean over the pixels that are not void."""
    mask = torch.from_numpy(np.asarray(batch.mask).astype(np.int64))
    if logits.shape[1] == 1:
        kept = mask != VOID
        return torch.nn.BCEWithLogitsLoss()(logits[:, 0][kept], mask[kept].float())
    return torch.nn.functional.cross_entropy(logits, mask, ignore_index=VOID)


def train_both(model: UNet, batches: list[Batch]):
    """Losses of both, their weights after the last step, and the weights before the first."""
    optimizer = Adam(1e-4)
    shape = batches[0].image.shape[1:]
    state = jax.jit(partial(create_state, model=model, optimizer=optimizer.build(), image_shape=shape))(jax.random.key(0))
    state = state._replace(params=jax.tree.map(lambda leaf: leaf * GAIN if leaf.ndim == 4 else leaf, state.params))
    start = to_state_dict(state.params, state.batch_stats)
    network = TorchUNet(model.widths, shape[-1], model.out_channels, model.norm).train()
    load_strictly(network, start)
    theirs = torch.optim.Adam(network.parameters(), lr=optimizer.learning_rate)
    step = jax.jit(partial(train_step, model=model, optimizer=optimizer.build(), loss=CrossEntropy()))
    losses: tuple[list[float], list[float]] = ([], [])
    for batch in batches:
        state, result = step(state, batch)
        losses[0].append(float(result.loss))
        theirs.zero_grad()
        loss = torch_loss(network.logits(torch_images(batch.image)), batch)
        loss.backward()
        theirs.step()
        losses[1].append(float(loss.detach()))
    return losses, state, network, start


def assert_parity(model: UNet, batches: list[Batch], without: tuple[str, ...] = ()):
    """Losses to 1e-4; of each tensor, the difference to 1e-3 of its change."""
    (ours, theirs), state, network, start = train_both(model, batches)
    assert len(ours) == STEPS
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    end = to_state_dict(state.params, state.batch_stats, batches=STEPS)
    compared = 0
    for name, tensor in network.state_dict().items():
        if name.endswith(without or "-"):
            continue
        change = np.linalg.norm(end[name] - start[name])
        assert change > 0, name
        assert np.linalg.norm(end[name] - tensor.numpy()) <= 1e-3 * change, name
        compared += 1
    assert compared == len(start) - len([name for name in start if name.endswith(without or "-")])
    return state, network


def test_on_random_images():
    assert_parity(UNet(WIDTHS, out_channels=1), list(random_batches()))


def test_on_photographs(coco_dev):
    """And the class that ends in the sigmoid, as the original does, predicts the same with the weights after it."""
    model, batches = UNet(WIDTHS, out_channels=1), list(photographs(coco_dev))
    state, network = assert_parity(model, batches)
    network.eval()
    with torch.no_grad():
        probability = network(torch_images(batches[-1].image)).numpy()[:, 0]
    logits = np.asarray(jax.jit(partial(forward, model=model))(state, batches[-1].image))[..., 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probability, atol=1e-5)




def test_of_several_classes():
    assert_parity(UNet((8, 16, 24), out_channels=5), list(random_batches(classes=5)))


