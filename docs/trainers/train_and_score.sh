#!/bin/bash
# train_and_score.sh OUT GPUS PORT FLAGS...: trains with LLaVA-NeXT, then scores with lmms-eval.
set -euo pipefail
out=$1 gpus=$2 port=$3
shift 3
for checkpoint in "${ABLATE_RESUME:-/none}"/checkpoint-*; do # an earlier attempt's, as hard links
    [ ! -d "$checkpoint" ] || cp -al "$checkpoint" "$out/"
done
torchrun --nproc-per-node "$gpus" --master-port "$port" llava/train/train_mem.py --output_dir "$out" "$@"
accelerate launch --num_processes "$gpus" --main_process_port "$port" -m lmms_eval \
    --model llava_vid --model_args "pretrained=$out" --tasks videomme --batch_size 1 --output_path "$out/lmms_eval"
python lmms_eval_scores.py "$out/lmms_eval" "$out"
