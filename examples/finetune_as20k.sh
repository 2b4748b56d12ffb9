#!/bin/sh
# Fine-tune on the balanced part of AudioSet, and evaluate.
#
#   sh examples/finetune_as20k.sh CKPT META AUDIO [override ...]
#
# CKPT: the checkpoint to start from, e.g. EAT-base_epoch10_pt.pt. META: a folder with the published
# segment lists and class_labels_indices.csv. AUDIO: the folder of the clips. Overrides are those of
# fairseq-hydra-train, e.g. dataset.batch_size=12 on 4 GPUs.
set -eu
checkpoint=$1 meta=$2 audio=$3
shift 3
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/examples/listing.sh"
data=manifests/as20k results=checkpoints/finetune_as20k

list() { # SPLIT SEGMENTS; some clips are always missing: exit status 1, and a list of them
    is_listed "$data/$1.tsv" "$audio" || eat manifest audioset --segments "$meta/$2" --split "$1" \
        --labels "$meta/class_labels_indices.csv" --audio "$audio" --out "$data" ||
        [ -f "$data/$1.tsv" ]
}

list train balanced_train_segments.csv
list eval eval_segments.csv
fairseq-hydra-train --config-dir "$repository/config" --config-name finetune_as20k \
    common.user_dir="'$repository/user_dir'" task.data="$data" \
    checkpoint.save_dir="$results" model.init_from="'$checkpoint'" "$@"
eat evaluate "$results/checkpoint_best.pt" --data "$data" --split eval --out "$results/eval"
