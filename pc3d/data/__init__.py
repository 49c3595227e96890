"""Samples, transforms, readers and loaders: from files to a `Batch`. No torch.nn here."""
