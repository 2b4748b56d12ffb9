#!/bin/sh
# Fine-tune a small encoder on your own clips, whose labels are the names of their folders.
#
#   sh examples/finetune_tiny.sh CKPT AUDIO [override ...]
#
# CKPT: the checkpoint to start from, e.g. checkpoints/pretrain_tiny/checkpoint_last.pt. AUDIO: a
# folder with a folder per label. A tenth of the clips of each label is kept for validation.
set -eu
checkpoint=$1 audio=$2
shift 2
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/examples/listing.sh"
data=manifests/$(basename "$(cd "$audio" && pwd)") results=checkpoints/finetune_tiny

is_listed "$data/train.tsv" "$audio" || eat manifest folder "$audio" --labels-from parent --valid-fraction 0.1 --out "$data"
fairseq-hydra-train --config-dir "$repository/config" --config-name finetune_tiny \
    common.user_dir="'$repository/user_dir'" task.data="$data" \
    checkpoint.save_dir="$results" model.init_from="'$checkpoint'" "$@"
eat evaluate "$results/checkpoint_best.pt" --data "$data" --split valid --out "$results/valid"
