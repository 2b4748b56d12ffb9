// Names the most probable classes of a sound with onnxruntime and nothing else: 16-bit wav, mono, at
// the graph's rate (16 kHz unless trained at another); the beginning, as long as the clips of the
// fine-tuning (10.24 s for AudioSet).
//
//   eat convert CHECKPOINT tagger.onnx --to onnx --input waveform
//   npm install onnxruntime-node
//   node examples/tag.js tagger.onnx dog.wav [classes, 5 if not given]

const fs = require("fs");
const ort = require("onnxruntime-node");

// The samples of a wav file, in [-1, 1]: chunks of four letters, a length and that many bytes.
function readWav(path, rateHz) {
  const bytes = fs.readFileSync(path);
  const isWav = /^RIFF....WAVE/s.test(bytes.toString("latin1", 0, 12));
  let format = isWav ? "no format" : "no wav file";
  for (let at = 12; isWav && at + 8 <= bytes.length; ) {
    const name = bytes.toString("latin1", at, at + 4), start = at + 8;
    const end = Math.min(start + bytes.readUInt32LE(at + 4), bytes.length);
    if (name === "fmt ") {
      const [code, channels] = [bytes.readUInt16LE(start), bytes.readUInt16LE(start + 2)];
      const [rate, bits] = [bytes.readUInt32LE(start + 4), bytes.readUInt16LE(start + 14)];
      format = `format ${code}, ${bits} bits, ${rate} Hz, ${channels} channels`;
    }
    if (name === "data" && format === `format 1, 16 bits, ${rateHz} Hz, 1 channels`) {
      const length = (end - start) >> 1;
      return Float32Array.from({ length }, (_, i) => bytes.readInt16LE(start + 2 * i) / 32768);
    }
    at = end + (end % 2); // chunks begin at even bytes
  }
  throw new Error(`${path}: found ${format}, expected format 1 (PCM), 16 bits, ${rateHz} Hz, 1 channel`);
}

async function main(graph, sound, count = "5") {
  const bytes = fs.readFileSync(graph);
  // onnxruntime-node does not show the metadata of a graph; they are JSON at the end of the file.
  const { labels, reading_rate_hz } = JSON.parse(bytes.toString("utf8", bytes.lastIndexOf('{"input":')));
  const samples = readWav(sound, reading_rate_hz ?? 16000);
  const session = await ort.InferenceSession.create(bytes);
  const { probabilities } = await session.run({
    waveform: new ort.Tensor("float32", samples, [1, samples.length]),
    lengths: new ort.Tensor("int64", [BigInt(samples.length)], [1]),
  });
  const found = [...probabilities.data].map((value, i) => [value, labels ? labels[i] : i]);
  for (const [value, label] of found.sort((a, b) => b[0] - a[0]).slice(0, Number(count)))
    console.log(`${value.toFixed(4)}  ${label}`);
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
