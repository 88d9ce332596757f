"""Measure how fast a model file judges on this machine: latency, throughput and memory.

example:
  andon bench bottle.onnx                      # at the calibrated frame size
  andon bench bottle.onnx --frame 1080x1920    # raw frames of another size
  andon bench --compare a.onnx b.onnx          # calls of two files in turn

The command takes about four times --seconds. It also measures a matrix product of 1024 x 1024 on one thread. To
compare results from different machines, use the ratio of model latency to matrix-product latency, not milliseconds.
"""

import argparse

import msgspec

from andon.cli._frame_sizes import frame_size
from andon.foundation.errors import ConfigError

SUMMARY = "measure latency, throughput and memory of a model file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", nargs="?", metavar="FILE.onnx", help="model file")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A.onnx", "B.onnx"),
        help="compare the latency of two files, with calls that alternate. Other work on the machine then slows both in the same "
        "way",
    )
    parser.add_argument(
        "--frame",
        metavar="HxW",
        help="height x width of the raw frame in pixels (default: calibrated size, or 1080x1920 if there is none)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        metavar="S",
        help="duration of each of the four measurements in seconds, up to 3600 (default: 3)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "auto"],
        default="cpu",
        help="device to run on; auto uses CUDA if there is one (default: cpu)",
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print the results."""
    from andon.foundation.progress import ProgressLine
    from andon.runtime.bench import GEMM_SIDE, bench

    if not 0 < args.seconds <= 3600:
        raise ConfigError(f"--seconds: expected more than 0 and at most 3600, got {args.seconds:g}.")
    if (args.file is None) == (args.compare is None):
        raise ConfigError(
            "expected one model file, or --compare A.onnx B.onnx, and not both. See 'andon bench --help'."
        )
    if args.compare is not None:
        return _compare(args)
    measured = bench(
        args.file,
        device=args.device,
        frame_size=frame_size("--frame", args.frame),
        seconds=args.seconds,
        progress=ProgressLine(),
    )
    if args.json:
        print(msgspec.json.encode(measured).decode())
        return 0
    resident = (
        f"{measured.resident_mb:.0f} MB resident" if measured.resident_mb is not None else "resident memory unknown"
    )
    print(
        f"model       {measured.model}, {measured.file_mb:.2f} MB, on {measured.device}, input {list(measured.item_shape)}"
    )
    print(
        f"latency     {measured.latency_ms:.2f} ms median, {measured.latency_p99_ms:.2f} ms p99, {measured.calls} calls, "
        "one thread"
    )
    print(f"andon adds  {measured.overhead_ms:.3f} ms to a bare session of {measured.bare_session_ms:.2f} ms")
    print(
        f"throughput  {measured.per_second_one_caller:.0f}/s one caller, {measured.per_second_one_caller_two_threads:.0f}/s one "
        f"caller with two threads, {measured.per_second_two_callers:.0f}/s two callers"
    )
    print(
        f"machine     {measured.gemm_ms:.2f} ms for a {GEMM_SIDE} x {GEMM_SIDE} matrix product on one thread "
        f"({2 * GEMM_SIDE**3 / measured.gemm_ms / 1e6:.0f} GFLOP/s): one item takes {measured.gemm_share:.2f} times as long"
    )
    print(f"memory      {resident}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from andon.foundation.progress import ProgressLine
    from andon.runtime.bench_pair import bench_pair

    pair = bench_pair(
        *args.compare,
        device=args.device,
        frame_size=frame_size("--frame", args.frame),
        seconds=args.seconds,
        progress=ProgressLine(),
    )
    if args.json:
        print(msgspec.json.encode(pair).decode())
        return 0
    for name, of in (("A", pair.first), ("B", pair.second)):
        print(
            f"{name}           {of.latency_ms:.2f} ms median, {of.file_mb:.2f} MB, input {list(of.item_shape)}, {of.path} "
            f"({of.model})"
        )
    print(f"ratio       B takes {pair.ratio:.2f} times as long as A (95 % limits {pair.low:.2f} to {pair.high:.2f})")
    slower = "B is slower" if pair.low > 1 else "A is slower"
    print(f"decided     {slower if pair.decided else 'no: the limits include equal times. Give more --seconds'}")
    print(f"measured    {pair.pairs} pairs of calls on {pair.device}, one thread, in turn")
    return 0
