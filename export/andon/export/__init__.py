"""Export a trained scorer as one checked and calibrated ONNX file.

This package needs torch, onnx and onnxscript. It does not depend on any detector.
"""
