"""What ``notebooks/sae.ipynb`` says of its figures."""
