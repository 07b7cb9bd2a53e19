"""`jaxseg COMMAND ...` is `python -m jaxseg.COMMAND ...`."""

import sys
from importlib import import_module

COMMANDS = {
    "train": "train a network",
    "find_lr": "a learning rate, by a short training with a rising one",
    "evaluate": "how good a trained model is, as a table and a report",
    "compare": "several runs side by side",
    "convert": "weights to PyTorch and back, with proof",
    "export": "a trained model as StableHLO, ONNX, safetensors or PyTorch source",
    "doctor": "what is wrong with a data set, and what is in it",
    "predict": "masks of photographs of any size",
    "visualize": "save pictures of a data set's images and masks",
}


def main(argv: list[str] | None = None) -> None:
    """Pass the rest of the line on to a command."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] not in COMMANDS:
        listed = "\n".join(f"  {name:12s}{what}" for name, what in COMMANDS.items())
        asked_for_help = words and words[0] in ("-h", "--help")
        print(f"usage: jaxseg COMMAND ...\n{listed}\nEach explains itself: jaxseg COMMAND --help", file=sys.stderr)
        raise SystemExit(0 if asked_for_help else 2)
    import_module(f"jaxseg.{words[0]}").main(words[1:])


if __name__ == "__main__":
    main()
