"""AlexNet reproducibility bench, the torch side: images in, numbers out."""

__version__ = "1.0.0rc1"
