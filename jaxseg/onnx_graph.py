"""A U-Net as an ONNX graph, written operator by operator."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxseg.errors import InputError
from jaxseg.models.unet import UNet

OPSET, IR_VERSION = 17, 9
"""Old enough for the runtimes of 2023."""

RESIZE = {"bilinear": "half_pixel", "bilinear_corners": "align_corners"}


def onnx_model(
    model: UNet, state: Mapping[str, np.ndarray], *, channels: int, metadata: Mapping[str, str]
) -> Any:  # an onnx.ModelProto
    """The network with the weights of its PyTorch state dict; any batch, height and width.

    Input `image`: float32 [batch, channels, height, width], scaled. Outputs `probabilities` (sigmoid of one channel,
    softmax of several) and `logits`, float32 [batch, out_channels, height, width].

    Raises:
        InputError: if the `onnx` package is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise InputError("writing ONNX needs the onnx package: pip install 'jaxseg[onnx]'") from error

    nodes = Nodes(state)
    build(model, nodes)
    output = [TensorProto.FLOAT, ["batch", model.out_channels, "height", "width"]]
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, outputs, **settings) for operator, inputs, outputs, settings in nodes.list],
        "unet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, "height", "width"])],
        [helper.make_tensor_value_info(name, *output) for name in ("probabilities", "logits")],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in nodes.constants.items()],
    )
    proto = helper.make_model(
        graph, producer_name="jaxseg", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    helper.set_model_props(proto, dict(metadata))
    checker.check_model(proto)
    return proto


class Nodes:
    """A graph that grows; values are known by name."""

    def __init__(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = state
        self.list: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, operator: str, *inputs: str, output: str = "", **settings: Any) -> str:
        """Append an operator with one output, and return the output's name."""
        name = output or f"{operator.lower()}_{len(self.list)}"
        self.list.append((operator, list(inputs), [name], settings))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def weights(self, layer: str, *suffixes: str) -> list[str]:
        """The names of a layer's weights, those that it has."""
        names = [f"{layer}.{suffix}" for suffix in suffixes]
        return [self.constant(name, self.state[name]) for name in names if name in self.state]


def build(model: UNet, nodes: Nodes) -> None:
    """As `UNet.__call__` does it."""
    depth, x, skips = len(model.widths) - 1, "image", []
    for level in range(1, depth + 1):
        skips.append(block(model, nodes, x, f"enc{level}"))
        x = nodes.add("MaxPool", skips[-1], kernel_shape=[2, 2], strides=[2, 2])
    x = block(model, nodes, x, "bottleneck")
    for level in range(depth, 0, -1):
        skip = skips.pop()
        x = upsample(model, nodes, x, level)
        x = pad_to(nodes, x, skip) if model.pad else x
        x = nodes.add("Concat", *([x, skip] if model.up_first else [skip, x]), axis=1)
        x = block(model, nodes, x, f"dec{level}")
    logits = nodes.add("Conv", x, *nodes.weights("final_conv", "weight", "bias"), output="logits", kernel_shape=[1, 1])
    if model.out_channels == 1:
        nodes.add("Sigmoid", logits, output="probabilities")
    else:
        nodes.add("Softmax", logits, output="probabilities", axis=1)


def block(model: UNet, nodes: Nodes, x: str, name: str) -> str:
    place, entry = 0, x
    for last in (False, True):
        weights = nodes.weights(f"{name}.{place}", "weight", "bias")
        x = nodes.add("Conv", x, *weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if model.norm == "batch":
            place += 1
            weights = nodes.weights(f"{name}.{place}", "weight", "bias", "running_mean", "running_var")
            x = nodes.add("BatchNormalization", x, *weights, epsilon=model.epsilon)
        elif model.norm == "group":
            place += 1
            x = group_norm(model, nodes, x, *nodes.weights(f"{name}.{place}", "weight", "bias"))
        if last and model.residual:
            weights = nodes.weights(f"{name}.shortcut", "weight", "bias")
            x = nodes.add("Add", x, nodes.add("Conv", entry, *weights, kernel_shape=[1, 1]) if weights else entry)
        x = activated(model, nodes, x)
        place += 2
    return x


def group_norm(model: UNet, nodes: Nodes, x: str, weight: str, bias: str) -> str:
    """Each group as one channel of a row of values, normalised by itself."""
    rows = nodes.constant("rows", np.asarray([0, model.groups, -1]))
    ones = nodes.constant("ones", np.ones(model.groups, np.float32))
    zeros = nodes.constant("zeros", np.zeros(model.groups, np.float32))
    grouped = nodes.add("Reshape", x, rows)
    normal = nodes.add("InstanceNormalization", grouped, ones, zeros, epsilon=model.epsilon)
    normal = nodes.add("Reshape", normal, nodes.add("Shape", x))
    sides = nodes.constant("sides", np.asarray([1, 2]))
    weight, bias = (nodes.add("Unsqueeze", value, sides) for value in (weight, bias))
    return nodes.add("Add", nodes.add("Mul", normal, weight), bias)


def activated(model: UNet, nodes: Nodes, x: str) -> str:
    match model.activation:
        case "relu":
            return nodes.add("Relu", x)
        case "leaky_relu":
            return nodes.add("LeakyRelu", x, alpha=0.01)
        case "elu":
            return nodes.add("Elu", x, alpha=1.0)
        case "silu":
            return nodes.add("Mul", x, nodes.add("Sigmoid", x))
        case "gelu":
            numbers = {"half": 0.5, "one": 1.0, "root": 0.5**0.5}
            half, one, root = (nodes.constant(name, np.asarray(v, np.float32)) for name, v in numbers.items())
            share = nodes.add("Add", nodes.add("Erf", nodes.add("Mul", x, root)), one)
            return nodes.add("Mul", nodes.add("Mul", x, half), share)


def upsample(model: UNet, nodes: Nodes, x: str, level: int) -> str:
    if model.up == "transposed":
        weights = nodes.weights(f"upconv{level}", "weight", "bias")
        return nodes.add("ConvTranspose", x, *weights, kernel_shape=[2, 2], strides=[2, 2])
    scales = nodes.constant("twice", np.asarray([1, 1, 2, 2], np.float32))
    return nodes.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode=RESIZE[model.up])


def pad_to(nodes: Nodes, x: str, skip: str) -> str:
    """Zeros around `x`, the odd one after, up to the height and width of `skip`."""
    two, none = (nodes.constant(name, np.asarray(v)) for name, v in (("two", [2]), ("no_padding", [0, 0])))
    sides = [nodes.add("Shape", value, start=2) for value in (skip, x)]
    missing = nodes.add("Sub", *sides)
    before = nodes.add("Div", missing, two)
    after = nodes.add("Sub", missing, before)
    return nodes.add("Pad", x, nodes.add("Concat", none, before, none, after, axis=0))
