"""Training: data streams, augmentation, steps, and the loop."""
