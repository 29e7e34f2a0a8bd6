"""From a trained network to a published bundle: export, verification, variants and model card."""
