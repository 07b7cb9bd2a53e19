"""The same weights and batches give the same training in jaxseg and in PyTorch."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_batch
from torch_unet import TorchUNet, load_strictly, needs_torch, torch, torch_images

from jaxseg.arrays import VOID, Batch
from jaxseg.data.loader import train_batches
from jaxseg.data.samples import Data, open_split
from jaxseg.losses import CrossEntropy, valid_pixels
from jaxseg.models import conv3x3
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.step import TrainState, create_state, forward, scale, train_step
from jaxseg.torch_weights import to_state_dict

pytestmark = needs_torch
STEPS = 20
WIDTHS = (8, 16, 24)
OPTIMIZER = Adam(1e-4)


def random_batches(classes: int = 2) -> Iterator[Batch]:
    return (random_batch(seed, 2, (16, 24), classes=classes) for seed in range(STEPS))


def photographs(root: Path, classes: tuple[str, ...]) -> Iterator[Batch]:
    samples = open_split(Data(root=root, classes=classes, height=64, width=96), "train")
    with train_batches(samples, 2, seed=0) as batches:
        yield from (next(batches).batch for _ in range(STEPS))


def creator(model: UNet, batch: Batch) -> Callable[[jax.Array], TrainState]:
    return jax.jit(partial(create_state, model=model, optimizer=OPTIMIZER.build(), image_shape=batch.image.shape[1:]))


def torch_loss(logits, batch: Batch):
    """Binary for one channel, cross-entropy for several: the mean over the pixels that are not void."""
    mask = torch.from_numpy(np.asarray(batch.mask).astype(np.int64))
    if logits.shape[1] == 1:
        kept = mask != VOID
        return torch.nn.BCEWithLogitsLoss()(logits[:, 0][kept], mask[kept].to(logits.dtype))
    return torch.nn.functional.cross_entropy(logits, mask, ignore_index=VOID)


def assert_trained_alike(model: UNet, batches: list[Batch]):
    """20 steps of Adam: losses to 1e-4; of each tensor, the difference to 1e-3 of its change.

    Rounding may put a rectifier on the other side of zero, in about one run of ten, and its gradient then changes at
    once, which Adam carries on. So of three runs from other first weights one must do.
    """
    assert len(batches) == STEPS
    create = creator(model, batches[0])
    step = jax.jit(partial(train_step, model=model, optimizer=OPTIMIZER.build(), loss=CrossEntropy()))
    for seed in range(3):
        state = create(jax.random.key(seed))
        start = to_state_dict(state.params, state.batch_stats)
        network = TorchUNet(model.widths, 3, model.out_channels).train()
        load_strictly(network, start)
        optimizer = torch.optim.Adam(network.parameters(), lr=OPTIMIZER.learning_rate)
        for batch in batches:
            state, result = step(state, batch)
            optimizer.zero_grad()
            loss = torch_loss(network.logits(torch_images(batch.image)), batch)
            loss.backward()
            optimizer.step()
            assert float(result.loss) == pytest.approx(float(loss.detach()), rel=1e-4)
        end, theirs = to_state_dict(state.params, state.batch_stats), network.state_dict()
        changes = {name: np.linalg.norm(end[name] - start[name]) for name in start}
        assert min(changes.values()) > 0
        off = {name: float(np.linalg.norm(end[name] - theirs[name].numpy()) / changes[name]) for name in start}
        if max(off.values()) <= 1e-3:
            return state, network.eval()
    raise AssertionError(off)


@pytest.mark.parametrize("classes", [2, 5])
def test_training_on_random_images(classes):
    model = UNet(WIDTHS, out_channels=classes if classes > 2 else 1)
    assert_trained_alike(model, list(random_batches(classes)))


def test_training_on_the_samples_images(sample):
    assert_trained_alike(UNet(WIDTHS, out_channels=1), list(photographs(sample, ("laptop", "tv", "cell phone"))))


def test_training_on_photographs(coco_dev):
    """And after it the class that ends in the sigmoid, as the original does, predicts the same."""
    model, batches = UNet(WIDTHS, out_channels=1), list(photographs(coco_dev, ("person",)))
    state, network = assert_trained_alike(model, batches)
    with torch.no_grad():
        probability = network(torch_images(batches[-1].image)).numpy()[:, 0]
    logits = np.asarray(jax.jit(partial(forward, model=model))(state, batches[-1].image), np.float64)[..., 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probability, atol=1e-6)


def test_the_gradient_through_batch_normalisation():
    """Of PyTorch in double precision, so that only one side rounds, and with He's first weights."""
    model, batch = UNet(WIDTHS, out_channels=1, norm="batch"), random_batch(0, 4, (16, 24))
    state = creator(model, batch)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf * 6**0.5 if leaf.ndim == 4 else leaf, state.params)

    @jax.jit
    def gradient(params, batch: Batch):
        def objective(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            logits, _ = model.apply(variables, scale(batch.image), train=True, mutable=["batch_stats"])
            return CrossEntropy()(logits, batch.mask, valid_pixels(batch))

        return jax.grad(objective)(params)

    ours = to_state_dict(gradient(params, jax.tree.map(jnp.asarray, batch)), {})
    network = TorchUNet(WIDTHS, norm="batch").train()
    load_strictly(network, to_state_dict(params, state.batch_stats))
    torch_loss(network.double().logits(torch_images(batch.image).double()), batch).backward()
    for name, parameter in network.named_parameters():
        theirs = parameter.grad.numpy()
        if name.endswith((".0.bias", ".3.bias")):  # the normalisation takes it off again
            assert np.abs(ours[name]).max() < 1e-6 > np.abs(theirs).max(), name
        else:
            assert np.linalg.norm(ours[name] - theirs) <= 0.01 * np.linalg.norm(theirs) > 0, name


def test_training_by_winograds_algorithm_in_every_layer(monkeypatch):
    """Where networks are wide it takes over; here it does everywhere."""
    monkeypatch.setattr(conv3x3, "FORWARD", 0)
    monkeypatch.setattr(conv3x3, "GRADIENT", 0)
    monkeypatch.setattr(conv3x3, "FEW_INPUTS", 0)
    monkeypatch.setattr(conv3x3, "few_pixels", lambda x, kernel: False)
    assert_trained_alike(UNet(WIDTHS, out_channels=1), list(random_batches()))
