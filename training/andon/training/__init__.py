"""Learn what good looks like. Needs torch, torchvision and safetensors."""
