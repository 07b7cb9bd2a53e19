"""Reads and writes PyTorch checkpoint files, without PyTorch and without running code from them."""

from jaxseg.pth.read import Checkpoint, read_pth
from jaxseg.pth.unpickle import PthError
from jaxseg.pth.write import write_pth

__all__ = ["Checkpoint", "PthError", "read_pth", "write_pth"]
