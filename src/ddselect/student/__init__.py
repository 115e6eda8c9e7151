"""Students: models, augmentation, training."""
