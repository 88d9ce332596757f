"""Train detectors on good parts only. Requires torch, torchvision and safetensors."""
