"""PyTorch models as files: whole or not at all."""
