"""AlexNet reproducibility bench, the torch side: images in, numbers out."""

__version__ = "0.1.0"
