"""A step is a pure function of state and batch; what does not count changes nothing; and it is compiled once."""

import itertools
from functools import cache, partial
from pathlib import Path

import jax
import jax.export
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from batches import join, random_batch
from tqdm import tqdm

from jaxseg.arrays import VOID, Batch
from jaxseg.config import Config
from jaxseg.data.loader import eval_batches, train_batches
from jaxseg.data.samples import Data, open_split
from jaxseg.loop import compile_steps, evaluate_all
from jaxseg.losses import CrossEntropy
from jaxseg.metrics import predict_classes, scores
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.sharding import data_parallel
from jaxseg.step import create_state, eval_step, forward, scale, train_step

PLAIN = UNet((4, 8), out_channels=1)
NORMED = UNet((4, 8), out_channels=1, norm="batch")
BOTH = pytest.mark.parametrize("model", [PLAIN, NORMED], ids=["none", "batch"])
OPTIMIZER = Adam(1e-2).build()
# Adam's first step is as long as the learning rate even where the gradient is all rounding; not so with this eps.
STEADY = Adam(1e-2, eps=1e-2).build()
LOSS = CrossEntropy()


@cache
def create(model: UNet, shape: tuple[int, int, int] = (8, 12, 3)):
    return jax.jit(partial(create_state, model=model, optimizer=OPTIMIZER, image_shape=shape))(jax.random.key(0))


@cache
def training(model: UNet):
    return jax.jit(partial(train_step, model=model, optimizer=OPTIMIZER, loss=LOSS))


@cache
def evaluation(model: UNet):
    return jax.jit(partial(eval_step, model=model, loss=LOSS))


def assert_same(found, expected, **tolerance) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, err_msg=jax.tree_util.keystr(path), **{"rtol": 0, "atol": 0, **tolerance})


# What a step is.


def test_jit_equals_eager():
    state, batch = create(NORMED), random_batch()
    plain = partial(train_step, model=NORMED, optimizer=STEADY, loss=LOSS)
    assert_same(jax.jit(plain)(state, batch), plain(state, jax.tree.map(jnp.asarray, batch)), rtol=1e-4, atol=1e-6)


@BOTH
def test_the_same_state_and_batch_give_the_same_bits_and_stay_as_they_are(model):
    state, batch, step = create(model), random_batch(), training(model)
    before = jax.tree.map(np.array, (state, batch))
    first, second = step(state, batch), step(state, batch)
    assert_same(first, second)
    assert_same((state, batch), before)
    assert int(first[0].step) == 1


def test_a_new_state_is_a_function_of_the_key():
    state = create(NORMED)
    assert_same(create.__wrapped__(NORMED), state)
    assert int(state.step) == 0
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    assert create(PLAIN).batch_stats == {}


def test_pixels_are_scaled_to_0_to_1():
    levels = scale(jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1))
    assert levels.dtype == jnp.float32
    np.testing.assert_allclose(levels.ravel(), np.arange(256) / 255, rtol=1e-6)


# What it says of its batch.


@pytest.mark.parametrize("classes", [2, 4])
def test_the_result_is_of_the_weights_before_the_step(classes):
    model = UNet((4, 8), out_channels=classes if classes > 2 else 1)
    state = create(model)
    batch = join(
        random_batch(1, classes=classes), random_batch(2, classes=classes)._replace(weight=np.zeros(2, np.float32))
    )
    _, result = training(model)(state, batch)
    seen, predicted = evaluation(model)(state, batch)
    assert_same(result._replace(norm=None, verdict=None), seen, rtol=1e-6)

    logits = jax.jit(partial(forward, model=model))(state, batch.image)
    np.testing.assert_array_equal(predicted, predict_classes(logits))
    valid = (batch.mask != VOID) & (np.arange(4) < 2)[:, None, None]
    assert int(result.pixels) == valid.sum()
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (batch.mask[valid], np.asarray(predicted)[valid]), 1)
    np.testing.assert_array_equal(result.confusion, counts)
    assert float(result.loss) == pytest.approx(
        float(LOSS(logits, jnp.asarray(batch.mask), jnp.asarray(valid))), rel=1e-5
    )


def test_evaluation_normalises_by_the_running_statistics():
    state, _ = training(NORMED)(create(NORMED), random_batch())
    batch = random_batch(1, batch=3)
    one = jax.tree.map(lambda a: a[:1], batch)
    evaluate = evaluation(NORMED)
    np.testing.assert_array_equal(evaluate(state, batch)[1][:1], evaluate(state, one)[1])
    other = state._replace(batch_stats=jax.tree.map(lambda s: s + 1, state.batch_stats))
    assert float(evaluate(other, batch)[0].loss) != float(evaluate(state, batch)[0].loss)


# What does not count.


@BOTH
def test_nothing_in_a_sample_of_weight_zero_changes_anything(model):
    state, real, step = create(model), random_batch(3), training(model)
    expected = None
    for seed in range(3):
        padding = random_batch(100 + seed, void=0.0 if seed else 1.0)._replace(weight=np.zeros(2, np.float32))
        if seed == 2:
            padding = padding._replace(image=np.full_like(padding.image, 255), mask=np.full_like(padding.mask, 7))
        found = step(state, join(real, padding)), evaluation(model)(state, join(real, padding))[0]
        if expected is not None:
            assert_same(found, expected)
        expected = found


@BOTH
def test_a_padded_batch_is_the_batch_without_its_padding(model):
    state, real = create(model), random_batch(4)
    padding = random_batch(5)._replace(weight=np.zeros(2, np.float32))
    plain = jax.jit(partial(train_step, model=model, optimizer=STEADY, loss=LOSS))
    assert_same(plain(state, join(real, padding)), plain(state, real), rtol=1e-4, atol=1e-6)


def test_the_loss_and_the_counts_are_of_the_pixels_that_are_not_void():
    state, batch = create(PLAIN), random_batch(6, void=0)
    right = (slice(None), slice(None), slice(6, None))
    mask = batch.mask.copy()
    mask[:, :, :6] = VOID
    _, result = training(PLAIN)(state, batch._replace(mask=mask))
    logits = np.asarray(jax.jit(partial(forward, model=PLAIN))(state, batch.image), np.float64)[right][..., 0]
    pixels = np.logaddexp(0, logits) - batch.mask[right] * logits
    assert float(result.loss) == pytest.approx(pixels.mean(), rel=1e-5)
    assert int(result.pixels) == pixels.size == int(result.confusion.sum())


@BOTH
def test_a_batch_in_which_nothing_counts_changes_only_the_step_number(model):
    """Two unreadable images in a batch of two must not move the weights, nor make the statistics NaN."""
    step = training(model)
    state, _ = step(create(model), random_batch(7))  # Adam has momentum now
    for batch in (random_batch(8)._replace(weight=np.zeros(2, np.float32)), random_batch(8, void=1.0)):
        after, result = step(state, batch)
        assert_same(after, state._replace(step=state.step + 1))
        assert (float(result.loss), int(result.pixels), int(result.confusion.sum())) == (0, 0, 0)


# What it is compiled to.


@pytest.mark.parametrize(
    "model",
    [UNet(out_channels=1), UNet((16, 32, 64), out_channels=4, norm="batch", dtype="bfloat16")],
    ids=["the assignment's", "bfloat16 batch"],
)
def test_the_steps_lower_for_cpu_cuda_and_tpu(model):
    shapes = partial(create_state, model=model, optimizer=OPTIMIZER, image_shape=(224, 224, 3))
    state = jax.eval_shape(shapes, jax.random.key(0))
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), random_batch(size=(224, 224)))
    for step, count in ((training(model), len(jax.tree.leaves(state)) + 5), (evaluation(model), 4)):
        exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(state, batch)
        assert exported.platforms == ("cpu", "cuda", "tpu")
        assert len(exported.out_avals) == count


def test_nothing_is_compiled_after_the_first_step_and_the_first_evaluation(sample):
    """Over epochs, the padded last batch of an evaluation, and the pictures that are kept of it."""
    data = Data(root=sample, height=16, width=24, threads=1)
    config = Config(data=data, model=PLAIN, batch_size=4, optimizer=Adam(1e-3))
    train, val = open_split(data, "train"), open_split(data, "val")
    assert len(val) % config.batch_size
    compiled = compile_steps(config, data_parallel(config.batch_size))
    steps = len(train) // config.batch_size
    quiet = {"bar": tqdm(disable=True)}
    events: list[str] = []

    def note(event: str, duration: float, **details) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(str(details))

    def advance(count: int):
        taken, results = state, []
        for batch in itertools.islice(loaded, count):
            taken, result = compiled.train(taken, jax.device_put(batch.batch, compiled.layout.batch))
            results.append(jax.device_get(result))
        return taken, results

    def evaluate(keep: int):
        with eval_batches(val, config.batch_size) as loaded:
            return evaluate_all(state, loaded, compiled, keep=keep, **quiet)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        with train_batches(train, config.batch_size, seed=0) as loaded:
            state = compiled.create(jax.random.key(0))
            state, _ = advance(1)
            evaluate(keep=0)
            assert len(events) >= 3
            events.clear()
            for _ in range(2):
                state, results = advance(steps)
                _, shown = evaluate(keep=3)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert events == []
    assert [jitted._cache_size() for jitted in (compiled.create, compiled.train, compiled.evaluate)] == [1, 1, 1]
    assert (len(shown), int(state.step)) == (3, 1 + 2 * steps)
    assert all(result.pixels == result.confusion.sum() == 4 * 16 * 24 for result in results)


# It learns.


def assert_learns_by_heart(root: Path, classes: tuple[str, ...]) -> None:
    """Eight images, until the foreground IoU is above 0.95 with the running statistics."""
    samples = open_split(Data(root=root, classes=classes, height=64, width=64), "train")
    images = [samples[place] for place in range(8)]
    batch = Batch(*(np.stack([image[name] for image in images]) for name in ("image", "mask", "weight")))
    assert 0.02 < (batch.mask == 1).mean() < 0.5
    config = Config(data=samples.data, model=UNet((16, 32, 64), out_channels=1, norm="batch"), optimizer=Adam(3e-3))
    compiled = compile_steps(config, data_parallel(1))
    state = compiled.create(jax.random.key(0))
    for _ in range(6):
        for _ in range(30):
            state, _ = compiled.train(state, batch)
        result, _ = compiled.evaluate(state, batch)
        if scores(np.asarray(result.confusion)).iou > 0.95:
            return
    raise AssertionError(f"{scores(np.asarray(result.confusion))} after {int(state.step)} steps")


def test_it_learns_eight_photographs_by_heart(coco_dev):
    assert_learns_by_heart(coco_dev, ("person",))


def test_it_learns_eight_images_of_the_sample_by_heart(sample):
    assert_learns_by_heart(sample, ("laptop", "tv", "cell phone"))
