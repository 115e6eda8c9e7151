"""Where candidates come from: real images, images that the prior makes, or both."""
