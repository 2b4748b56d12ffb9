#!/bin/sh
# Fine-tune on ESC-50 in its five folds, and print the mean accuracy.
#
#   sh examples/finetune_esc50.sh CKPT ESC-50-master [override ...]
#
# CKPT: the checkpoint to start from, e.g. EAT-base_epoch10_pt.pt. As in the released scripts, the
# checkpoint of a fold is the best on the fold that it is evaluated on.
set -eu
checkpoint=$1 published=$2
shift 2
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/examples/listing.sh"
data=manifests/esc50 results=checkpoints/finetune_esc50

is_listed "$data/fold1/train.tsv" "$published" || eat manifest esc50 "$published" --out "$data"
for fold in 1 2 3 4 5; do
    fairseq-hydra-train --config-dir "$repository/config" --config-name finetune_esc50 \
        common.user_dir="'$repository/user_dir'" task.data="$data/fold$fold" \
        checkpoint.save_dir="$results/fold$fold" model.init_from="'$checkpoint'" "$@"
    eat evaluate "$results/fold$fold/checkpoint_best.pt" --data "$data/fold$fold" --split valid \
        --out "$results/fold$fold/valid"
done
python - "$results"/fold*/valid/metrics.json <<'END'
import json, sys

accuracies = [json.load(open(path))["metrics"]["accuracy"] for path in sys.argv[1:]]
print(f"mean accuracy of {len(accuracies)} folds: {sum(accuracies) / len(accuracies):.4f}")
END
