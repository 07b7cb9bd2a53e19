"""Settings to an optax transformation."""

from dataclasses import dataclass

import optax


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) at a constant learning rate; its update is PyTorch's."""

    learning_rate: float = 1e-4
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def build(self) -> optax.GradientTransformation:
        """The optax transformation."""
        return optax.adam(self.learning_rate, b1=self.b1, b2=self.b2, eps=self.eps)
