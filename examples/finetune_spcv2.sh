#!/bin/sh
# Fine-tune on Speech Commands V2, and evaluate on its test clips.
#
#   sh examples/finetune_spcv2.sh CKPT speech_commands_v0.02 [override ...]
#
# CKPT: the checkpoint to start from, e.g. EAT-base_epoch10_pt.pt.
set -eu
checkpoint=$1 published=$2
shift 2
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/examples/listing.sh"
data=manifests/spcv2 results=checkpoints/finetune_spcv2

is_listed "$data/train.tsv" "$published" || eat manifest speech-commands "$published" --out "$data"
fairseq-hydra-train --config-dir "$repository/config" --config-name finetune_spcv2 \
    common.user_dir="'$repository/user_dir'" task.data="$data" \
    checkpoint.save_dir="$results" model.init_from="'$checkpoint'" "$@"
eat evaluate "$results/checkpoint_best.pt" --data "$data" --split eval --out "$results/eval"
