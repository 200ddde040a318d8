"""What the normalization layers of a trained model are really doing."""
