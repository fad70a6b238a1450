"""Plain names of experiments, for rows and panels that a reader sees; records keep the short ones."""

NAMES = {
    "alexnet": "AlexNet (the authors’ program)",
    "one_gpu": "One tower, half the kernels",
    "no_lrn": "Without response normalisation",
    "non_overlapping_pooling": "Pooling without overlap",
    "tanh": "tanh in place of ReLU",
    "zero_biases": "All biases start at 0",
    "no_dropout": "Without dropout",
    "no_augmentation": "Without crops and reflections",
    "no_pca_color": "Without colour noise",
    "no_weight_decay": "Without weight decay",
    "no_conv2": "Without the 2nd convolution",
    "no_conv3": "Without the 3rd convolution",
    "no_conv4": "Without the 4th convolution",
    "no_conv5": "Without the 5th convolution",
    "conv6": "With a 6th convolution",
    "ensemble": "Average of all seeds",
    "paper": "Printed text",
    "paper_color_deviations": "Printed text, but mild colour noise",
    "paper_color_deviations_unscaled": "The same, initial weights unscaled",
    "alexnet_unscaled": "Program, initial weights unscaled",
    "onetower2014": "One-tower net of 2014",
    "text_no_spatial_norm": "No spatial normalisation",
    "text_color_undivided": "Program, input not divided",
    "cifar_lrn": "CIFAR-10 net with normalisation",
    "cifar_no_lrn": "CIFAR-10 net without normalisation",
}


def plain_name(experiment: str) -> str:
    """The plain name of an experiment; one that has none is called what it is, with blanks."""
    return NAMES.get(experiment, experiment.replace("_", " "))


def condition_name(condition: str) -> str:
    """A condition of a race without what it shares with the others or explains in brackets."""
    return condition.partition(" (")[0].removesuffix(", else the settings of 2011").strip()
