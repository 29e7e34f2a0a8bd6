"""The tasks of training, one file each: vocabulary, batches, network, manifest options, samples and defaults."""
