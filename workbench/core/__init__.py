"""Foundations that all other sub-packages use, such as errors, argument checks, files, splits and training loops."""
