"""What is saved and loaded: the weights that tuning learned, laid over their base model."""
