"""A step that is not sound, in words: where it went wrong, why, and what to do."""

import math
from collections.abc import Mapping

from jaxseg.config import Config
from jaxseg.diagnosis import OUTPUT, Anatomy, Cause, Numbers
from jaxseg.recognise import table
from jaxseg.step import StepResult

HEADER = ("", "not finite", "least", "greatest", "mean size", "norm")


def explain(cause: Cause, anatomy: Anatomy, result: StepResult, config: Config, usual_norm: float) -> str:
    """Where it arose first, and the likely reason."""
    name, loss = cause.name, anatomy.loss["loss"]
    runaway = f"Largest weight: {greatest(anatomy.state, 'params/'):.3g}. {remedies(config)}"
    match cause.kind:
        case "state":
            return (
                f"{name} was not finite before this step ({anatomy.state[name].bad:.2%} of it). The update before made "
                "it so (a learning rate beyond float32, optimizer.eps 0), or the weights that the run started from."
            )
        case "forward":
            before = dict(list(anatomy.forward.items())[: list(anatomy.forward).index(name)])
            where = f"First not finite: the output of {name}, {anatomy.forward[name].bad:.2%} of it"
            return f"{where}; the largest number before it is {greatest(before) or 1:.3g}. {runaway}"
        case "statistics":
            return (
                f"The layers' outputs are finite, the running statistic {name} is not: a mean or variance is beyond "
                f"float32. {runaway}"
            )
        case "loss":
            logits = anatomy.forward[OUTPUT]
            return (
                f"The network's logits are finite ({logits.low:.3g} to {logits.high:.3g}), their loss is not: "
                f"{type(config.loss).__name__} divides by zero or overflows on this batch."
            )
        case "backward" if name == OUTPUT:
            return (
                f"The network and its loss ({loss.low:.4g}) are finite, the loss's gradient by the logits is not: "
                f"{type(config.loss).__name__} has no slope there (a root of 0, a division)."
            )
        case "backward":
            found = anatomy.backward[name]
            how = f"{found.bad:.2%} of it" if found.bad else f"up to {size(found):.3g}, its square beyond float32"
            return (
                f"The network and its loss ({loss.low:.4g}) are finite. Going backward, the first gradient that is not "
                f"is that of {name}: {how}. {runaway}"
            )
        case "spike":
            times = float(result.norm) / usual_norm
            return (
                f"The gradient's norm is {float(result.norm):.4g}, {times:.3g} times the usual {usual_norm:.4g}; the "
                f"largest part is that of {name}. Look at these images and their masks."
            )
    return (
        "Taken apart layer by layer, all is finite: the compiled step, whose layers are fused, rounds otherwise. "
        "A wider --model.dtype may show whether the type is too narrow."
    )


def remedies(config: Config) -> str:
    """What usually helps."""
    narrow = "float16 ends at 65,504: --model.dtype bfloat16. " if config.model.dtype == "float16" else ""
    norm = ", or --model.norm batch" if config.model.norm == "none" else ""
    rate = min(config.optimizer.learning_rate / 10, 1e-3)
    return f"{narrow}Most often the learning rate is too high: --optimizer.learning-rate {rate:g}{norm}."


def tables(anatomy: Anatomy) -> str:
    """Every layer forward, every parameter backward; of the state and the statistics what is not finite."""
    parts = [
        ("Before the step, not finite:", {name: n for name, n in anatomy.state.items() if n.bad}),
        ("Forward, the output of each layer:", {**anatomy.forward, **anatomy.loss}),
        ("Running statistics after it, not finite:", {name: n for name, n in anatomy.statistics.items() if n.bad}),
        ("Backward, the loss's gradient by the logits and by each parameter:", anatomy.backward),
    ]
    return "\n\n".join(f"{title}\n{table(HEADER, rows(part), limit=len(part))}" for title, part in parts if part)


def rows(part: Mapping[str, Numbers]) -> list[tuple[str, ...]]:
    return [
        (name, f"{n.bad:.2%}" if n.bad else "-", *(f"{value:.3g}" for value in (n.low, n.high, n.size, n.norm)))
        for name, n in part.items()
    ]


def greatest(part: Mapping[str, Numbers], prefix: str = "") -> float:
    return max((size(found) for name, found in part.items() if name.startswith(prefix)), default=0.0)


def size(found: Numbers) -> float:
    """The largest finite number's, without its sign."""
    return max((abs(value) for value in (found.low, found.high) if math.isfinite(value)), default=0.0)
