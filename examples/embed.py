"""Embed a model file in an inspection program: three lines that decide, the rest is about showing it.

python examples/embed.py washers.onnx parts/test/scratch/000.png
"""

import sys

import cv2

from andon.runtime import Detector, Status
from andon.runtime.heat_map import overlay

detector = Detector.load(sys.argv[1])
frame = cv2.imread(sys.argv[2])[:, :, ::-1]  # OpenCV reads BGR, the file wants RGB
verdict = detector(frame)

print(verdict.status.name, f"level {verdict.level:.2f} (1 is the threshold)", verdict.reason.text)
if verdict.status is Status.REJECT:
    scale = detector.card.calibration.map_scale
    cv2.imwrite("reject.png", overlay(frame, verdict.evidence["anomaly_map"], scale)[:, :, ::-1])
    print("see reject.png")
