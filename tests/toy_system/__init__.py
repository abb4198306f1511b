"""A system that is no part of this project: an input, a model, an objective, a readout and a measure of its own.

It is used as others' packages are, by the name of its module `kinds` in the environment variable GAVT_EXTENSIONS. Its
model has three streams of different widths that look at each other; its objective has a teacher that follows the model.
"""
