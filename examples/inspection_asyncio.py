"""The monitor in an asyncio program: outcomes arrive in a queue of the event loop.

python examples/inspection_asyncio.py washers.onnx parts/test/chip
"""

import asyncio
import sys

from andon.monitor import Monitor


async def main(model, folder):
    """Judge a folder, and handle each outcome in the event loop."""
    loop, outcomes = asyncio.get_running_loop(), asyncio.Queue()

    def on_outcome(outcome):
        loop.call_soon_threadsafe(outcomes.put_nowait, outcome)

    with Monitor() as monitor:
        monitor.add_line("press-3", model=model, source=folder, on_outcome=on_outcome, settings={"follow": False})
        await asyncio.to_thread(monitor.start)  # loading a model file takes time
        ended = asyncio.create_task(asyncio.to_thread(monitor.wait))
        ended.add_done_callback(lambda _: outcomes.put_nowait(None))
        while (outcome := await outcomes.get()) is not None:
            print(outcome.ref.key, outcome.verdict.status.name)
        print((await ended).lines[0].finished.counters.judged, "judged")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
