"""From photographs of any size to masks, and to files of them."""
