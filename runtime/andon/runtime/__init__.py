"""The embedded core: load a model file, judge frames or windows. Needs numpy, onnxruntime and msgspec, nothing else."""
