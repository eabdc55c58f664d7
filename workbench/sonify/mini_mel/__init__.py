"""What made ``mini-mel``, the built-in summary autoencoder: its training, sounds and measurements, and its weights."""
