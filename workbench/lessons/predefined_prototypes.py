"""What ``notebooks/predefined_prototypes.ipynb`` says of its figures."""
