// Read and check a model file and judge with it, without Python. This is docs/model-file.md in another language.

import { createHash } from "node:crypto";

process.env.ORT_DISABLE_TELEMETRY = "1"; // read once, at the first import of onnxruntime
const ort = (await import("onnxruntime-node")).default;

export const STATUS = ["OK", "REVIEW", "INVALID", "REJECT"];
const OUTPUTS = ["score", "status", "reason", "threshold", "p_value"];
const LENGTHS = { "andon.threshold": 1, "andon.review": 1, "andon.tail_x": 256, "andon.tail_p": 257 };
const SCENE = ["andon.scene_center", "andon.scene_scale", "andon.scene_limit"];
const OUTSIDE = "andon.outside"; // four limits of each channel
const KEYS = ["andon", "andon.golden", "andon.calibration_log", "andon.digest"];
const TRAILER = 82;
const MAJOR = 1;

export class ModelFileError extends Error {}

const refuse = (why) => {
  throw new ModelFileError(why);
};

/** Yield the fields of the message `bytes[start, end)`: number, wire type, position of the payload, value of a varint. */
export function* walk(bytes, start = 0, end = bytes.length) {
  let at = start;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (at >= end) refuse("truncated: a number is cut off");
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return (byte === 0 && shift > 0n) || value >> 64n ? refuse("a number is too long") : value;
    }
    return refuse("a number is too long");
  };
  while (at < end) {
    const first = at;
    const tag = varint();
    const number = Number(tag >> 3n);
    const wire = Number(tag & 7n);
    let value = at;
    let number64 = 0n;
    if (wire === 0) number64 = varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = Number(varint());
      value = at;
      at += length;
    } else refuse(`wire type ${wire} at byte ${first}`);
    if (number === 0 || at > end) refuse(`damaged or truncated at byte ${first}`);
    yield { number, wire, start: first, value, end: at, varint: number64 };
  }
}

/** Check the bytes of a model file. Return card, golden sample, log, threshold and digest. */
export function readModel(bytes) {
  const text = (field, fatal = true) => new TextDecoder("utf-8", { fatal }).decode(bytes.subarray(field.value, field.end));
  const children = (field) => [...walk(bytes, field.value, field.end)];
  const only = (fields, number) => {
    const found = fields.filter((field) => field.number === number);
    return found.length < 2 ? found[0] : refuse(`field ${number} occurs twice`);
  };

  // ONNX Runtime would read such bytes as its own format and run a model that was not checked
  if (text({ value: 4, end: 8 }, false) === "ORTM") refuse("bytes 4 to 7 are the mark of another format");
  const top = [...walk(bytes)];
  const metadata = new Map();
  for (const entry of top.filter((field) => field.number === 14)) {
    const parts = children(entry);
    const key = text(only(parts, 1));
    if (metadata.has(key)) refuse(`the metadata key ${key} occurs twice`);
    metadata.set(key, text(only(parts, 2)));
  }
  for (const key of KEYS) if (!metadata.has(key)) refuse(`not an andon model file: no ${key}`);
  if (metadata.size !== KEYS.length) refuse("unknown metadata");

  const digest = createHash("sha256").update(bytes.subarray(0, -TRAILER)).digest("hex");
  const last = top.at(-1);
  const matches = last.start === bytes.length - TRAILER && metadata.get("andon.digest") === digest;
  let card;
  try {
    card = JSON.parse(metadata.get("andon"));
  } catch {
    refuse("the digest does not match, or the metadata are not JSON");
  }
  if (card.schema?.[0] !== MAJOR) refuse(`schema ${card.schema}: this reader knows ${MAJOR}.x`);
  if (!matches) refuse("the digest does not match: damaged or changed");

  if (top.some((field) => ![1, 2, 3, 4, 5, 6, 7, 8, 14].includes(field.number))) refuse("functions, or unknown fields");
  const graph = children(only(top, 7));
  const names = (number) => graph.filter((field) => field.number === number).map((field) => text(only(children(field), 1)));
  const lengths = { ...LENGTHS, ...sceneLengths(card), ...outsideLength(card) };
  const numbers = {};
  for (const tensor of graph.filter((field) => field.number === 5)) {
    const parts = children(tensor);
    if (parts.some((part) => ![1, 2, 8, 9, 12].includes(part.number))) refuse("external or typed data");
    const name = text(only(parts, 8));
    if (!name.startsWith("andon.")) continue;
    const raw = only(parts, 9);
    const length = lengths[name] ?? refuse(`unknown initialiser ${name}`);
    if (name in numbers || only(parts, 2).varint !== 1n || raw.end - raw.value !== 4 * length) refuse(`${name}: malformed`);
    const view = new DataView(bytes.buffer, bytes.byteOffset + raw.value, 4 * length);
    numbers[name] = Float32Array.from({ length }, (_, place) => view.getFloat32(4 * place, true));
  }
  const needed = Object.keys(lengths).filter((name) => name !== "andon.scene_scale");
  if (!needed.every((name) => name in numbers)) refuse("an initialiser of andon is missing");
  for (const name of [...SCENE, OUTSIDE]) if (!(numbers[name] ?? []).every(Number.isFinite)) refuse(`${name}: not finite`);

  const input = card.input.kind;
  if ((card.input.dtype ?? "uint8") !== "uint8") refuse("this reader judges uint8 frames only");
  const { ignore, region, tiles, frame_size: frameSize } = card.input;
  const masks = [ignore, region].filter(Boolean);
  if (masks.some((mask) => String(mask.frame_size) !== String(frameSize))) refuse("a mask of another frame size");
  if (tiles && !frameSize) refuse("tiles without a frame size");
  if (String(names(11)) !== input) refuse(`expected one input, ${input}`);
  if (String(names(12)) !== String([...OUTPUTS, ...card.outputs])) refuse("other outputs than the metadata list");
  const threshold = numbers["andon.threshold"][0];
  if (!card.calibration || Number.isNaN(threshold)) refuse("blank: never calibrated");
  if (!Number.isFinite(threshold) || !(numbers["andon.review"][0] <= threshold)) refuse("the threshold or the review limit is out of bounds");

  const log = JSON.parse(metadata.get("andon.calibration_log"));
  if (log.at(-1)?.threshold !== threshold) refuse("the threshold is not that of the last log entry");
  return { bytes, card, golden: JSON.parse(metadata.get("andon.golden")), log, threshold, digest };
}

/** Return the initialisers of the scene check with their lengths. Only files of schema 1.1 and later may have them. */
function sceneLengths(card) {
  const scene = card.input.scene;
  if (card.schema[1] < 1 || !scene) return {};
  return { "andon.scene_center": scene.features, "andon.scene_scale": scene.features, "andon.scene_limit": scene.limits };
}

/** Return the initialiser of the check for windows far outside the good ones. Only files of schema 1.1 and later may have it. */
function outsideLength(card) {
  if (card.schema[1] < 1 || !card.input.outside) return {};
  return { [OUTSIDE]: 4 * card.input.channels.length };
}

/** Return a function that turns N raw items (Uint8Array frames or Float32Array windows) into N verdicts. */
export async function loadJudge(model) {
  const session = await ort.InferenceSession.create(model.bytes, {
    executionProviders: ["cpu"],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableMemPattern: false,
    logSeverityLevel: 3,
    extra: { session: { load_model_format: "ONNX" } }, // do not guess it from the bytes
  });
  const { card } = model;
  return async (data, dims) => {
    const type = card.input.kind === "frame" ? "uint8" : "float32";
    const outputs = await session.run({ [card.input.kind]: new ort.Tensor(type, data, dims) });
    return Array.from({ length: dims[0] }, (_, row) => ({
      status: STATUS[outputs.status.data[row]],
      reason: outputs.reason.data[row],
      score: finite(outputs.score.data[row]),
      raw_score: outputs.raw_score && finite(outputs.raw_score.data[row]), // also of frames that the scene check refuses
      p_value: finite(outputs.p_value.data[row]),
      threshold: outputs.threshold.data[row],
      model: model.digest.slice(0, 12),
    }));
  };
}

const finite = (value) => (Number.isFinite(value) ? value : null);
