"""Does ``andon monitor`` lose frames of a 1080p video? Prints one JSON line: frames, lines, time, peak memory.

python benchmarks/monitor_video.py MODEL.onnx
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, frames: int) -> None:
    """Write a video of a moving pattern with noise, 1080p at 25 frames per second."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:1080, 0:1920].astype(np.float32)
    noise = random.integers(0, 12, (8, 1080, 1920, 1), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (1920, 1080))
    for number in range(frames):
        waves = 120 + 60 * np.sin((rows + 3 * number) / 41) + 40 * np.cos((columns - 5 * number) / 67)
        writer.write(np.repeat(waves.astype(np.uint8)[:, :, None] + noise[number % 8], 3, axis=2))
    writer.release()


def main() -> None:
    """Make a video, run the monitor on it, and count the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        video, out = Path(temporary) / "line.mp4", Path(temporary) / "verdicts.jsonl"
        write_video(video, args.frames)
        start_s = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "andon",
            "monitor",
            str(args.model),
            str(video),
            "--out",
            str(out),
            "--frame-size",
            "any",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start_s
        lines = [json.loads(line) for line in out.read_text().splitlines()]
    messages = done.stderr.strip().splitlines()
    print(
        json.dumps(
            {
                "what": "monitor_video",
                "frames": args.frames,
                "lines": len(lines),
                "in_order": [line["seq"] for line in lines] == list(range(1, len(lines) + 1)),
                "exit_code": done.returncode,
                "seconds_with_start": round(seconds, 2),
                "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000),
                "last_message": messages[-1] if messages else "",
            }
        )
    )


if __name__ == "__main__":
    main()
