// node judge.mjs FILE.onnx INPUT.bin [HEIGHTxWIDTH]
//
// INPUT.bin holds raw items, one after the other: uint8 frames [H, W, C], or little-endian float32 windows [T, C].
// Prints what the file states and one verdict for each item, as JSON. Exits with 2 if the file is refused.

import { readFile } from "node:fs/promises";

import { loadJudge, ModelFileError, readModel } from "./reader.mjs";

const [file, input, size] = process.argv.slice(2);
try {
  const model = readModel(await readFile(file));
  const { card, golden } = model;
  const { ignore, region, tiles, frame_size: own } = card.input;
  if (size && (ignore || region || tiles) && size !== own.join("x"))
    throw new ModelFileError(`masks and tiles belong to frames of ${own.join("x")}, got ${size}`);
  const judge = await loadJudge(model);
  const shape =
    card.input.kind === "frame"
      ? [...(size ? size.split("x").map(Number) : card.input.frame_size), card.input.channels]
      : [card.input.steps, card.input.channels.length];
  const items = tensor(await readFile(input), card.input.kind);
  const count = items.length / shape.reduce((product, side) => product * side);
  const verdicts = await judge(items, [count, ...shape]);
  const sample = await judge(tensor(Buffer.from(golden.input.data, "base64"), card.input.kind), [1, ...golden.input.shape]);
  console.log(
    JSON.stringify({
      name: card.name,
      digest: model.digest,
      threshold: model.threshold,
      golden: { expected: golden.score, score: sample[0].raw_score ?? sample[0].score },
      verdicts,
    }),
  );
} catch (error) {
  if (!(error instanceof ModelFileError)) throw error;
  console.error(`${file}: ${error.message}`);
  process.exitCode = 2;
}

/** Return raw bytes as the numbers that the graph takes. They are copied, because a float must start at a multiple of four. */
function tensor(bytes, kind) {
  const copy = Uint8Array.from(bytes);
  return kind === "frame" ? copy : new Float32Array(copy.buffer);
}
