"""Networks of other code bases are recognised by names and shapes, and compute what they compute in PyTorch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from torch_milesial import randomise
from torch_unet import needs_torch, torch

from jaxseg.assumed import AS_ITS_CLASS, Choices
from jaxseg.errors import InputError
from jaxseg.models.unet import UNet
from jaxseg.recognise import expected_shapes, recognise, scheme_name
from jaxseg.schemes import BUDA, MILESIAL, ORIGINAL, PLAIN, SCHEMES, fill, read_rules
from jaxseg.torch_weights import renamed, to_leaves, to_variables, unnamed

if torch is not None:
    from torch_milesial import ListUNet, MilesialUNet, NamedUNet, PlainUNet
    from torch_unet import TorchUNet

    CASES = {
        "original": (lambda: TorchUNet((4, 8, 12), 3, 1), "original", "transposed", (16, 24)),
        "original, batch norm": (lambda: TorchUNet((4, 8, 16), 1, 4, "batch"), "original", "transposed", (16, 24)),
        "group norm, ELU": (lambda: TorchUNet((4, 8), 3, 1, "group", 2, "elu"), "original", "transposed", (16, 24)),
        "group norm, GELU": (lambda: TorchUNet((4, 8), 3, 2, "group", 1, "gelu"), "original", "transposed", (16, 24)),
        "milesial": (lambda: MilesialUNet(3, 2, width=4, depth=2), "milesial", "transposed", (21, 27)),
        "milesial, biases": (
            lambda: MilesialUNet(3, 1, width=4, depth=2, bias=True),
            "milesial",
            "transposed",
            (25, 18),
        ),
        "milesial, bilinear": (
            lambda: MilesialUNet(1, 2, True, width=4, depth=2),
            "milesial",
            "bilinear_corners",
            (31, 22),
        ),
        "plain": (lambda: PlainUNet(1, 5, 4, 2), "plain", "transposed", (16, 24)),
        "mateuszbuda": (lambda: NamedUNet(3, 1, 4, 2), "buda", "transposed", (16, 24)),
        "lists": (lambda: ListUNet(3, 1, (4, 8)), "lists", "transposed", (16, 24)),
    }
else:
    CASES = {}
CHOICES = {
    "group norm, ELU": Choices(groups=2, activation="elu"),
    "group norm, GELU": Choices(groups=1, activation="gelu"),
}
EACH = pytest.mark.parametrize("case", CASES)


def numpy_state(network) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def last_layer(network, x):
    """Values before a sigmoid, where the class ends in one."""
    kept = {}
    modules = dict(network.named_modules())
    name = next(n for n in ("outc", "head", "final_conv", "conv") if n in modules)
    hook = modules[name].register_forward_hook(lambda _, __, output: kept.update(output=output))
    network(x)
    hook.remove()
    return kept["output"]


def near(ours, theirs, tolerance: float = 1e-5) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def nchw(x) -> np.ndarray:
    return np.asarray(x).transpose(0, 3, 1, 2)


@needs_torch
@EACH
def test_a_network_is_recognised_and_gives_the_same_logits_and_gradients(case: str) -> None:
    make, scheme, up, size = CASES[case]
    torch.manual_seed(0)
    network = randomise(make()).eval()
    state = numpy_state(network)
    found = recognise(state, choices=CHOICES.get(case, AS_ITS_CLASS))
    assert (found.scheme, found.model.up) == (scheme, up)
    assert set(found.names) == set(state)
    image = jnp.asarray(np.random.default_rng(0).random((2, *size, found.channels), np.float32))
    x = torch.from_numpy(nchw(image).copy())
    variables = to_variables(unnamed(state, found.names))

    logits = jax.jit(found.model.apply)(variables, image)
    near(nchw(logits), last_layer(network, x).detach())

    weight = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)

    def total(params):
        return (found.model.apply({**variables, "params": params}, image) * weight).sum()

    gradients = to_leaves(jax.jit(jax.grad(total))(variables["params"]), {})
    (last_layer(network, x) * torch.from_numpy(nchw(weight).copy())).sum().backward()
    names = {name: path for name, path in found.names.items() if path in gradients}
    ours = renamed(gradients, names)
    theirs = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        near(ours[name], value, 2e-5)


@needs_torch
@EACH
def test_the_way_back_loads_strictly_and_gives_the_same_logits(case: str) -> None:
    make, _, _, size = CASES[case]
    network = make()
    found = recognise(numpy_state(network), choices=CHOICES.get(case, AS_ITS_CLASS))
    rng = np.random.default_rng(3)
    shapes = expected_shapes(found.model, found.channels)
    leaves = {path: rng.uniform(0.1, 0.3, shape).astype(np.float32) for path, shape in shapes.items()}
    counts = {path: np.asarray(9) for path in found.names.values() if path.endswith("/batches")}
    fresh, leaves = to_variables(leaves), {**leaves, **counts}
    state = renamed(leaves, found.names)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=True)
    image = jnp.asarray(np.random.default_rng(0).random((1, *size, found.channels), np.float32))
    theirs = last_layer(network.eval(), torch.from_numpy(nchw(image).copy())).detach()
    near(nchw(jax.jit(found.model.apply)(fresh, image)), theirs)


@needs_torch
@EACH
def test_names_and_arrays_come_back_bit_for_bit(case: str) -> None:
    state = numpy_state(randomise(CASES[case][0]()))
    found = recognise(state, choices=CHOICES.get(case, AS_ITS_CLASS))
    back = renamed(unnamed(state, found.names), found.names)
    assert list(back) == list(state)
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        assert back[name].tobytes() == value.tobytes(), name


@needs_torch
@pytest.mark.parametrize("case", ["original", "milesial, bilinear", "plain"])
def test_real_photographs_give_the_same_logits(case: str, coco_dev: Path) -> None:
    """Scaled and cut, one grey where the network takes that; some of odd sizes."""
    make, _, _, (height, width) = CASES[case]
    network = randomise(make()).eval()
    found = recognise(numpy_state(network))
    variables = to_variables(unnamed(numpy_state(network), found.names))
    apply = jax.jit(found.model.apply)
    paths = sorted((coco_dev / "images" / "val2017").glob("*.jpg"))[:6]
    assert len(paths) == 6
    for path in paths:
        photograph = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        image = jnp.asarray(photograph[None, :height, :width, : found.channels])
        assert image.shape == (1, height, width, found.channels)
        theirs = last_layer(network, torch.from_numpy(nchw(image).copy())).detach()
        near(nchw(apply(variables, image)), theirs)


def named(model: UNet, scheme, channels: int = 3) -> dict[str, np.ndarray]:
    """A fresh network's state dict in a scheme."""
    leaves = {path: np.zeros(shape, np.float32) for path, shape in expected_shapes(model, channels).items()}
    modules = scheme.modules(len(model.widths) - 1)
    return renamed(leaves, {scheme_name(path, modules): path for path in leaves})


@pytest.mark.parametrize("scheme", [s for s in SCHEMES.values() if s is not BUDA], ids=lambda s: s.name)
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("widths", [(2, 3), (4, 8, 12, 16, 16)])
def test_every_scheme_of_every_depth_and_norm_is_told_apart(scheme, norm, widths) -> None:
    settings = {"norm": norm, "groups": 1, "bias": norm == "none", "up_first": scheme.up_first, "pad": scheme.pad}
    model = UNet(widths, out_channels=2, **settings)
    found = recognise(named(model, scheme, channels=5), choices=Choices(groups=1))
    assert (found.scheme, found.channels, found.model) == (scheme.name, 5, model)


def test_what_the_file_does_not_show_is_assumed_aloud_and_can_be_set() -> None:
    state = named(UNet((4, 4), out_channels=1, norm="batch", up="bilinear"), MILESIAL)
    found = recognise(state)
    text = "\n".join(found.assumed)
    for word in ("(skip, up)", "ReLU", "epsilon 1e-05", "align_corners=True", "milesial"):
        assert word in text
    chosen = recognise(state, choices=Choices(up_first=True, align_corners=False, epsilon=1e-3)).model
    assert (chosen.up_first, chosen.up, chosen.epsilon) == (True, "bilinear", 1e-3)


def test_a_dropout_in_the_block_moves_numbers_and_nothing_else() -> None:
    state = named(UNet((4, 8), out_channels=1, norm="batch"), ORIGINAL)
    moved = {name.replace(".3.", ".4.").replace(".4.", ".5.", int(".4." in name)): v for name, v in state.items()}
    assert recognise(moved).model == recognise(state).model
    assert list(recognise(moved).names.values()) == list(recognise(state).names.values())


def test_a_prefix_that_all_names_share_is_kept_in_the_names() -> None:
    state = {f"net.{name}": value for name, value in named(UNet((4, 8), out_channels=1), ORIGINAL).items()}
    assert recognise(state).names["net.enc1.0.weight"] == "enc1/0/kernel"


def test_what_does_not_fit_is_listed_side_by_side() -> None:
    state = named(UNet((4, 8, 16), out_channels=1), ORIGINAL)
    del state["enc2.2.bias"]
    state["dec1.2.weight"] = np.zeros((4, 5, 3, 3), np.float32)
    state["gate.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(InputError) as error:
        recognise(state)
    lines = [line.split() for line in str(error.value).splitlines()]
    assert ["enc2.2.bias", "-", "(8,)", "missing"] in lines
    assert ["dec1.2.weight", "(4,", "5,", "3,", "3)", "(4,", "4,", "3,", "3)", "misshapen"] in lines
    assert ["gate.weight", "(1,", "1,", "1,", "1)", "-", "extra"] in lines
    assert "layers that jaxseg has not: gate.weight" in str(error.value)


def test_volumes_and_strangers_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"volumes(.*\n)+  enc1.0.weight +\(4, 1, 3, 3, 3\)"):
        recognise({"enc1.0.weight": np.zeros((4, 1, 3, 3, 3), np.float32)})
    with pytest.raises(InputError, match=r"names of no U-Net(.*\n)+  layer1.0.conv1.weight"):
        recognise({f"layer{i}.0.conv1.weight": np.zeros((4, 4, 3, 3), np.float32) for i in range(1, 5)})
    state = {n: (v * 9).astype(np.int8) for n, v in named(UNet((2, 3), out_channels=1), ORIGINAL).items()}
    with pytest.raises(InputError, match="weights that are not floating-point numbers: enc"):
        recognise(state)


def test_a_table_of_ones_own() -> None:
    text = """
    # blocks without numbers
    left.{n}.a -> enc{n+1}/0
    left.{n}.b -> enc{n+1}/3
    left.{n}.an -> enc{n+1}/1
    left.{n}.bn -> enc{n+1}/4
    right.{k}.up -> upconv{depth-k}   # the deepest first
    right.{k}.block -> dec{depth-k}
    last -> final_conv
    up_first = true
    epsilon = 1e-3
    groups = 2
    activation = silu
    """
    scheme = read_rules(text, "mine.txt")
    told = {"up_first": True, "epsilon": 1e-3, "groups": 2, "activation": "silu"}
    model = UNet((4, 8, 16), out_channels=3, norm="batch", bias=False, **told)
    state = named(model, scheme)
    assert {"left.2.bn.running_var", "right.0.up.bias", "right.1.block.3.weight", "last.bias"} <= set(state)
    found = recognise(state, [scheme])
    assert found.model == model
    assert found.scheme == "mine.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.{n} -> encoder{n}", "line 1: no path 'encoder{n}'"),
        ("a -> enc{n}", "line 1: the placeholder {n} can't be computed"),
        ("a.{n} -> enc{n*2}", "{n*2} can't be computed"),
        ("inc -> enc1\nepsilon = x", "line 2: 'epsilon = x' is neither"),
        ("inc -> enc1\nactivation = prelu", "line 2: 'activation = prelu' is neither"),
        ("# nothing", "has no rule"),
    ],
)
def test_a_bad_table_is_told_by_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_rules(text, "mine.txt")
    assert message in str(error.value)


def test_placeholders_count() -> None:
    assert fill("up{depth+1-n}.{n+n}", {"depth": 4, "n": 3}) == "up2.6"
    assert PLAIN.modules(2)["bottom"] == "bottleneck"
    assert MILESIAL.modules(2)["down2.maxpool_conv.1.double_conv"] == "bottleneck"
