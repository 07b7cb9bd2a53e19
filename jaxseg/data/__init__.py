"""The data sets: COCO files and images to batches."""
