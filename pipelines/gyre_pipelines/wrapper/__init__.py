"""The wrapper of a training: standard library only, Python >= 3.9, shipped as a zipapp into the user's image."""
