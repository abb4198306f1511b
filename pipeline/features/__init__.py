"""From decoded samples to what a model sees: spectrograms and augmentations, batched on the device."""
