"""Features of recordings in a few lines of Python.

python examples/extract_features.py CHECKPOINT RECORDING ...
"""

import sys

import eat


def main(checkpoint: str, *recordings: str) -> None:
    encoder = eat.load_encoder(checkpoint)  # ours, a released .pt, or from Hugging Face

    # One vector per clip, one per patch of 160 ms x 16 mel bins, one per 160 ms.
    for recording in recordings:
        utterance = eat.extract_features(recording, encoder, "utterance")  # (D,)
        frame = eat.extract_features(recording, encoder, "frame")  # (L, D)
        steps = eat.extract_features(recording, encoder, "time")  # (H, D)
        times = eat.frame_times(len(steps), encoder.log_mel.step_seconds)
        print(f"{recording}: utterance {tuple(utterance.shape)}, frame {tuple(frame.shape)},")
        print(f"  time {tuple(steps.shape)} from {times[0]:.2f} to {times[-1]:.2f} s")

    # Many clips at once are faster, and each gets what it gets alone; outputs of all blocks.
    for layers in eat.extract_features(list(recordings), encoder, "utterance", "all"):
        print(f"all layers {tuple(layers.shape)}")

    # Samples instead of files, padded to 10.24 s as the released code does.
    waveform, rate_hz = eat.read_audio(recordings[0], 16_000), 16_000  # (S,), mono
    options = {"sample_rate_hz": rate_hz, "target_length": 1024}
    padded = eat.extract_features(waveform, encoder, "all", **options)
    print(f"padded, with CLS {tuple(padded.shape)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
