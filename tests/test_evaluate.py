"""An evaluation counts what is there: the same integers however it is cut up, and as other tools count them."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from painted import leave_out, model_of, paint, painted_data, reads_binary, reads_classes
from PIL import Image
from pycocotools.coco import COCO
from trained import random_model

import jaxseg
from jaxseg.data.samples import open_split
from jaxseg.errors import InputError
from jaxseg.evaluate import score_model
from jaxseg.predictor import Predictor, network_probabilities
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.examine import At, View, examine
from jaxseg.scores.scoring import score

MODELS = {"binary": reads_binary, "multiclass": reads_classes}


def predictor_of(out_channels: int = 1, **description: object) -> Predictor:
    """A small network of random weights."""
    weights = random_model(out_channels=out_channels, widths=(4, 6))

    def forward(variables, images):
        return network_probabilities(variables, images, model=weights.model, scale=1 / 255)

    return Predictor({**weights.description, **description}, forward, weights.variables, weights.model.stride)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted") / "coco")


@pytest.mark.parametrize("at", ["original", "network"])
@pytest.mark.parametrize("mode", MODELS)
def test_a_perfect_mask_scores_one_everywhere(painted: Path, mode: str, at: At) -> None:
    """Pictures that fit into the letterbox without being scaled, so that the model reads the masks off them."""
    samples = open_split(painted_data(painted, (40, 60), mode=mode, resize="letterbox"), "val")
    places = [samples.placement(int(position)) for position in samples.positions]
    unscaled = [place.inner == place.full for place in places]
    assert sum(unscaled) == 3
    chosen = dataclasses.replace(samples, positions=samples.positions[unscaled])
    whole = scored(model_of(MODELS[mode], mode, (40, 60)), chosen, at=at, ap=at == "original")
    assert {name: tuple(score) for name, score in whole.scores.items() if score != (1, 1, 1)} == {}
    assert whole.average_precision == 1
    assert whole.calibration.error < 2**-16
    assert not whole.total.confusion[~np.eye(len(whole.names), dtype=bool)].any()
    objects, found, pixels, pixels_found = whole.total.objects.T
    assert objects.sum() >= 5
    np.testing.assert_array_equal(objects, found)
    np.testing.assert_array_equal(pixels, pixels_found)
    assert all(image.iou == image.dice == 1 for image in whole.images)


def scored(
    model: Predictor,
    samples: jaxseg.Samples,
    *,
    at: At = "original",
    batch_size: int = 4,
    threshold: float = 0.5,
    ap: bool = False,
) -> Evaluation:
    return score(model, samples, model="m", split="val", at=at, threshold=threshold, batch_size=batch_size, ap=ap)


@pytest.mark.parametrize("at", ["original", "network"])
def test_batch_size_and_devices_change_no_integer(coco_dev: Path, at: At) -> None:
    """75 photographs in batches of 1, 4, 7 and, over 8 devices, 8; pixels within rounding of an edge may differ."""
    model = predictor_of()
    data = jaxseg.Data(root=coco_dev, height=8, width=12)
    samples = open_split(dataclasses.replace(data, height=model.height, width=model.width), "val")
    assert len(samples) == 75
    logit = np.log(model.threshold / (1 - model.threshold))

    def near(view: View) -> int:
        p = view.probabilities.astype(np.float64)
        with np.errstate(divide="ignore"):
            return int(np.sum(np.abs(np.log(p) - np.log1p(-p) - logit) < 1e-5))

    doubtful = sum(examine(model, samples, near, at=at, batch_size=5, on_faults=lambda faults: None))
    found = {size: scored(model, samples, at=at, batch_size=size, threshold=model.threshold) for size in (1, 4, 7, 8)}
    first = found[1]
    assert len(first.images) == 75
    assert 0.2 < first.foreground.predicted / first.total.confusion.sum() < 0.8
    for other in found.values():
        assert [i.image_id for i in other.images] == [i.image_id for i in first.images]
        moved = np.abs(other.total.confusion - first.total.confusion).sum() // 2
        assert moved <= doubtful
        per_image = sum(
            np.abs(a.pixels[2, 0] - b.pixels[2, 0]) for a, b in zip(other.images, first.images, strict=True)
        )
        assert per_image <= doubtful
        if not moved:
            np.testing.assert_array_equal(other.total.objects, first.total.objects)
            np.testing.assert_array_equal(other.total.boundary, first.total.boundary)
        assert other.scores["iou"].value == pytest.approx(first.scores["iou"].value, abs=1e-6)
    print(f"{at}: {doubtful} doubtful pixels")


def test_shuffling_images_changes_nothing(painted: Path) -> None:
    model = predictor_of(3, classes=["background", "cat", "dog"])
    data = painted_data(painted, (model.height, model.width), mode="multiclass")
    samples = open_split(data, "val")
    first = scored(model, samples)
    order = np.random.default_rng(0).permutation(len(samples))
    other = scored(model, dataclasses.replace(samples, positions=samples.positions[order]), batch_size=4)
    for ours, theirs in zip(first.total, other.total, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, interval in first.scores.items():
        ulps = 4 if name.startswith("image_") else 0  # a sum of fractions; the others are of integers
        np.testing.assert_array_max_ulp(other.scores[name].value, interval.value, ulps)
    assert [i.image_id for i in first.ranked] == [i.image_id for i in other.ranked]


@pytest.mark.parametrize("at", ["original", "network"])
def test_void_counts_nowhere(tmp_path: Path, at: At) -> None:
    """What is predicted where the truth is void, which here are crowds in the first columns, changes no count."""
    root = paint(tmp_path / "coco", crowd=True)
    samples = open_split(painted_data(root, (40, 60), resize="letterbox", crowds="void"), "val")
    place = samples.placement(4)
    assert place.inner == place.full == (25, 60)
    one = dataclasses.replace(samples, positions=np.array([4]))

    def painting(colour: int) -> Predictor:
        def forward(_: object, images: jax.Array) -> jax.Array:
            left = (jnp.arange(60) < 7)[None, None, :, None]
            void = left & (images.max(-1, keepdims=True) == 0)  # objects stand on it
            return reads_binary(_, jnp.where(void, np.uint8(colour), images))

        return model_of(forward, "binary", (40, 60))

    dark, grey, bright = (scored(painting(colour), one, at=at) for colour in (0, 128, 255))
    assert dark.total.confusion.sum() < 25 * 60
    assert dark.foreground.predicted > 0
    for other in (grey, bright):
        for ours, theirs in zip(dark.total, other.total, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_counts_are_those_of_pycocotools_masks_and_pillow(coco_dev: Path) -> None:
    """Truth from pycocotools' own reading of the file, prediction by hand from the network."""
    model = predictor_of(classes=["background", "person"])
    data = jaxseg.Data(root=coco_dev, classes=("person",))
    found = score_model(model, data, batch_size=5, threshold=0.4)
    coco = COCO(coco_dev / "annotations" / "instances_val2017.json")
    assert [i.image_id for i in found.images] == sorted(coco.getImgIds(catIds=[1]), key=list(coco.imgs).index)
    for image in found.images[::7]:
        entry = coco.imgs[image.image_id]
        truth = np.zeros((entry["height"], entry["width"]), bool)
        for one in coco.loadAnns(coco.getAnnIds(image.image_id, catIds=[1])):
            truth |= coco.annToMask(one).astype(bool)
        frame = found.samples.image(image.position)
        probability = Image.fromarray(model.probabilities(frame[None])[0, ..., 0])
        full = np.asarray(probability.resize((entry["width"], entry["height"]), Image.Resampling.BILINEAR))
        prediction = full > 0.4
        near = np.sum(np.abs(full - 0.4) < 1e-5)
        expected = (prediction & truth).sum(), truth.sum(), prediction.sum()
        assert image.overlap.truth == truth.sum()
        np.testing.assert_allclose(list(map(int, image.overlap)), expected, atol=near)
        if not near:
            assert image.iou == sklearn.metrics.jaccard_score(truth.ravel(), prediction.ravel())
        look = found.look(image)
        np.testing.assert_array_equal(look.truth, truth)
        assert look.image.shape[:2] == look.prediction.shape == truth.shape
        assert abs(int((look.prediction == 1).sum()) - int(image.overlap.predicted)) <= near


def test_images_without_foreground_are_told_apart(painted: Path) -> None:
    def everything(_, images):
        return np.float32(0.9) + 0 * reads_binary(_, images)

    data = painted_data(painted, (64, 64))
    samples = open_split(dataclasses.replace(data, classes=None), "val")
    found = scored(model_of(everything, "binary"), samples)
    assert len(found.images) == 6
    assert found.empty_images == (1, 1)
    with_truth = [i for i in found.images if not i.empty]
    assert len(with_truth) == len(found.ranked) == 5
    assert found.scores["image_iou"].value == pytest.approx(np.mean([i.iou for i in with_truth]))
    assert found.scores["image_dice"].value == pytest.approx(np.mean([i.dice for i in with_truth]))
    assert found.scores["recall"].value == 1
    assert any("every pixel is predicted as foreground" in text for text in found.warnings)
    assert [i.iou for i in found.ranked] == sorted(i.iou for i in with_truth)


def test_unreadable_images_are_listed_and_counted_apart(tmp_path: Path) -> None:
    root = paint(tmp_path / "coco")
    whole = score_model(model_of(reads_binary, "binary"), painted_data(root))
    leave_out(root, 4)
    with pytest.raises(InputError, match=r"Image 4: .*--data\.on-error skip"):
        score_model(model_of(reads_binary, "binary"), painted_data(root))
    found = score_model(model_of(reads_binary, "binary"), painted_data(root, on_error="skip"), batch_size=2)
    assert list(found.unreadable) == [4]
    assert "can't be read" in found.unreadable[4]
    assert [i.image_id for i in found.images] == [i.image_id for i in whole.images if i.image_id != 4]
    left = next(i for i in whole.images if i.image_id == 4)
    np.testing.assert_array_equal(
        found.images[2].pixels, next(i for i in whole.images if i.image_id == found.images[2].image_id).pixels
    )
    assert whole.total.confusion.sum() - found.total.confusion.sum() == left.height * left.width
    for number in (1, 2, 5, 6):
        leave_out(root, number)
    with pytest.raises(InputError, match="none of the 5 images"):
        score_model(model_of(reads_binary, "binary"), painted_data(root, on_error="skip"))


def test_absent_classes_are_nan_and_listed(painted: Path) -> None:
    content = json.loads((painted / "annotations" / "instances_val.json").read_text())
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 1]
    file = painted / "annotations" / "only_cats.json"
    file.write_text(json.dumps(content))
    data = dataclasses.replace(painted_data(painted), val_json=file, val_images=painted / "images" / "val")
    found = score_model(model_of(reads_classes, "multiclass"), data)
    assert found.absent == ("dog",)
    assert found.scores["recall/2"].value != found.scores["recall/2"].value
    assert found.scores["iou/2"].value == 0  # the model invents dogs
    assert found.to_json()["scores"]["recall/2"] == {"value": None, "low": None, "high": None}
    assert found.best is None


def test_a_probability_that_is_not_a_number_is_told(painted: Path) -> None:
    def broken(_, images):
        return reads_binary(_, images) * np.float32(np.nan)

    found = score_model(model_of(broken, "binary"), painted_data(painted))
    assert found.total.unsound == found.total.confusion.sum()
    assert "have no probability (NaN)" in found.warnings[0]
    assert found.foreground.predicted == 0


def test_a_class_table_that_differs_is_refused_or_told(painted: Path) -> None:
    with pytest.raises(InputError, match=r"tells apart background, cat, dog; data\.classes gives background, cat: "):
        score_model(model_of(reads_classes, "multiclass"), dataclasses.replace(painted_data(painted), classes=("cat",)))
    found = score_model(model_of(reads_binary, "binary"), dataclasses.replace(painted_data(painted), classes=("cat",)))
    assert "they are compared with background, cat" in found.warnings[0]


def test_what_makes_no_sense_is_refused(painted: Path) -> None:
    model = model_of(reads_binary, "binary")
    with pytest.raises(InputError, match="between 0 and 1"):
        score_model(model, painted_data(painted), threshold=1.0)
    with pytest.raises(InputError, match="leave out --at network"):
        score_model(model, painted_data(painted), at="network", ap=True)
    with pytest.raises(InputError, match=r"give --data\.root"):
        score_model(model)
