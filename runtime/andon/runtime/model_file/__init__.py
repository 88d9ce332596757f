"""The model file as a format: read, check and write it without the onnx package."""
