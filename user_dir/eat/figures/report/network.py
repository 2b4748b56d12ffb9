"""What a run's network gets and makes of its validation clips."""

from typing import TYPE_CHECKING, Iterator, List, Optional

import numpy as np

from eat.commands.plot.clips import read_clip
from eat.commands.plot.embeddings import embed, name_kinds
from eat.data.manifest import Manifest
from eat.data.sampling import draw_clips
from eat.training.run_folder import Run

from .pictures import Picture
from .pictures import embed as picture_of

if TYPE_CHECKING:
    from eat.checkpoint import Checkpoint
    from eat.nn import Encoder

NUM_CLONES = 4
_SEED = 1


def draw_masks_of(checkpoint: "Checkpoint") -> List[Picture]:
    """What the settings of the masks do; nothing for a checkpoint without masks."""
    from ..masks import draw_masks, examine_masks

    masking, log_mel = checkpoint.masking_config, checkpoint.log_mel
    if masking is None or log_mel is None or log_mel.target_length is None:
        return []
    encoder = checkpoint.encoder_config
    grid = log_mel.target_length // encoder.patch_size, encoder.num_columns
    size = masking.mask_block_size
    name = f"Blocks of {size} x {size}, {100 * masking.mask_ratio:g} % hidden"
    figure = draw_masks({name: examine_masks(masking, grid)})
    return [picture_of(figure, f"{name}: patches in blocks, coverage, one clone", "png")]


def draw_network(
    run: Run, checkpoint: "Checkpoint", manifest_file: str, num_embedded: int
) -> List[Picture]:
    """The longest clip of a manifest, masked and with its attention, and a map of clips.

    What cannot be drawn, as the audio may be elsewhere, is noted in the run.

    Args:
        run: takes the notes.
        checkpoint: of the run.
        manifest_file: of the validation set.
        num_embedded: clips of the map at most; 0 for no map.
    """
    try:
        return list(_draw(run, checkpoint, Manifest(manifest_file), num_embedded))
    except (ValueError, OSError) as error:
        run.notes.append(f"No figures of clips: {error}.")
        return []


def _draw(
    run: Run, checkpoint: "Checkpoint", manifest: Manifest, num_embedded: int
) -> Iterator[Picture]:
    from eat.checkpoint import build_encoder
    from eat.nn.masking import inverse_block_masks

    from ..network import draw_input, draw_layer

    encoder = build_encoder(checkpoint).eval()
    log_mel = checkpoint.log_mel or encoder.log_mel
    longest = int(np.argmax(manifest.num_samples))
    source = read_clip(manifest.path(longest), log_mel)
    name = manifest.relative_path(longest)
    if checkpoint.masking_config is not None:
        grid = encoder.grid(source.shape[2])
        generator = np.random.default_rng(_SEED)
        masks = inverse_block_masks(checkpoint.masking_config, grid, generator)[:NUM_CLONES]
        figure = draw_input(source, masks, log_mel, name)
        yield picture_of(figure, f"Spectrogram of {name} and what clones show of it", "png")
    figure = draw_layer(encoder, source, encoder.config.depth, log_mel, name)
    yield picture_of(figure, f"Attention of the last block's CLS token in {name}", "png")
    if num_embedded >= 3:
        yield from _draw_map(run, encoder, manifest, num_embedded, log_mel.target_length)


def _draw_map(
    run: Run,
    encoder: "Encoder",
    manifest: Manifest,
    num_embedded: int,
    target_length: Optional[int],
) -> Iterator[Picture]:
    from ..embeddings import draw_embeddings, map_embeddings

    clips = draw_clips(len(manifest), num_embedded, _SEED).tolist()
    try:
        vectors = embed(encoder, manifest, clips, target_length=target_length)
        embedding_map = map_embeddings(np.array(list(vectors.values())))
    except ModuleNotFoundError as error:
        run.notes.append(f"No map of the embeddings: {error}.")
        return
    kinds = name_kinds(manifest)
    title = f"CLS tokens of {len(vectors)} clips of {manifest.file}"
    figure = draw_embeddings(embedding_map, [kinds[clip] for clip in vectors], title)
    yield picture_of(figure, f"Map of {title}, coloured by label or folder", "png")
