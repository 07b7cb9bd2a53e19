"""Several runs side by side: what differs in them, and which is better."""
