"""The rows whose sides take turns in one process: a training step, and inference, on a batch in memory."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import numpy as np
import torch
from cases import Case
from ours import Ours, predictor_of
from peaks import ON_GPU, bandwidth, matrix_peak
from torch_peer import PLAIN, Peer, tensors, training_flops, wait
from turns import Row, compared, in_turn

from jaxseg.footprint import footprint, lowered
from jaxseg.sharding import data_parallel
from jaxseg.torch_weights import to_state_dict

AT_ONCE = 10 if ON_GPU else 1
"""Steps given to the device before the host waits for it, as a training's loop does."""


def training(case: Case, *, times: int, seconds: float, modes: tuple[str, ...]) -> Row:
    """A step from a batch in the host's memory, both from the same weights; the first losses must agree."""
    ours, batch, given = Ours(case), case.arrays(), tensors(case.arrays())
    peers, losses = working(
        {mode: Peer(case, ours.weights, mode) for mode in modes}, lambda peer: peer.step(*given).cpu().numpy()
    )
    check(f"the first losses of {case}", losses, np.asarray(ours.step(batch)), case)

    def steps() -> None:
        for _ in range(AT_ONCE):
            ours.step(batch)
        ours.wait()

    found, theirs = in_turn(
        steps, {mode: many(peer.step, given) for mode, peer in peers.items()}, times=times, seconds=seconds
    )
    row = compared("training step", case, "ms", found, theirs, scale=1000 / AT_ONCE)
    return row._replace(note=rates(case, min(row.ours) / 1000))


def inference(case: Case, *, times: int, seconds: float, modes: tuple[str, ...]) -> Row:
    """`Predictor.dispatch` on uint8 images, against the network and its sigmoid on float32 ones."""
    batch, (images, _) = case.arrays(), tensors(case.arrays())
    with tempfile.TemporaryDirectory() as folder:
        predictor = predictor_of(case, Path(folder) / "model")
    weights = to_state_dict(**predictor.variables)
    peers, found = working(
        {mode: Peer(case, weights, mode) for mode in modes}, lambda peer: peer.probabilities(images).cpu().numpy()[:, 0]
    )
    check(f"the probabilities of {case}", found, predictor.probabilities(batch.image)[..., 0], case)

    def run() -> None:
        jax.block_until_ready([predictor.dispatch(batch.image) for _ in range(AT_ONCE)])

    seen, theirs = in_turn(
        run, {mode: many(peer.probabilities, (images,)) for mode, peer in peers.items()}, times=times, seconds=seconds
    )
    row = compared("inference", case, "ms", seen, theirs, scale=1000 / AT_ONCE)
    return row._replace(note=f"{case.batch / min(row.ours) * 1000:,.0f} images/s")


def many(call: Callable[..., object], given: tuple[torch.Tensor, ...]) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(AT_ONCE):
            call(*given)
        wait()

    return calls


def working(
    peers: dict[str, Peer], call: Callable[[Peer], np.ndarray]
) -> tuple[dict[str, Peer], dict[str, np.ndarray]]:
    """Those whose mode works here, and what the first call gave: `torch.compile` wants a C++ compiler, or Triton."""
    found: dict[str, np.ndarray] = {}
    for mode, peer in peers.items():
        try:
            found[mode] = call(peer)
        except Exception as error:  # whatever its compilers raise
            if mode in PLAIN:
                raise
            print(f"PyTorch, {mode}: does not work here: {str(error).splitlines()[0]}", file=sys.stderr)
    return {mode: peers[mode] for mode in found}, found


def check(what: str, theirs: dict[str, np.ndarray], ours: np.ndarray, case: Case) -> None:
    """That both sides compute the same, in each mode."""
    close = 1e-4 if case.dtype == "float32" and not ON_GPU else 2e-2  # a GPU may take TF32
    for mode, found in theirs.items():
        apart = float(abs(found - ours).max())
        assert apart < close, f"{what} differ by {apart:.1e} from those of PyTorch, {mode}"


def rates(case: Case, seconds: float) -> str:
    """Of jaxseg's best: images/s, and the shares of what the machine can do at most."""
    flops = training_flops(case) / seconds
    layout = data_parallel(case.batch)
    program = lowered(case.config, layout)[0]
    traffic = footprint(program, program.compile(), layout).traffic / seconds
    return (
        f"{case.batch / seconds:,.1f} images/s; {flops / 1e12:.3g} TFLOP/s, {flops / matrix_peak(case.dtype):.0%} of a "
        f"{case.dtype} matrix product's; {traffic / 1e9:,.0f} GB/s, {traffic / bandwidth():.0%} of a copy's"
    )


def growth(cases: Iterable[Case], *, times: int, seconds: float, modes: tuple[str, ...]) -> Iterator[Row]:
    """Training steps of other sizes; what a pixel takes shows how they grow."""
    for case in cases:
        row = training(case, times=times, seconds=seconds, modes=modes)
        pixels = case.batch * case.size[0] * case.size[1]
        ours, theirs = (f"{1e6 * min(side) / pixels:,.0f}" for side in (row.ours, row.theirs))
        yield row._replace(note=f"{ours} ns a pixel; PyTorch {theirs}")
