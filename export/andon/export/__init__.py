"""From a trained scorer to one checked, calibrated ONNX file. Needs torch, onnx and onnxscript; knows no detector."""
