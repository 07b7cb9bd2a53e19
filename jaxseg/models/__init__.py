"""The networks; only this folder imports flax."""
