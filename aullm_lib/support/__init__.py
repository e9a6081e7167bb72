"""What everything stands on and no paper is about: files, images, where checkpoints lie, provenance."""
