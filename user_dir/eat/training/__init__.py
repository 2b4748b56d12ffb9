"""What surrounds an update of a training, and one update in order, file by file.

    fairseq-hydra-train        config/*.yaml; its values become dataclasses, in which "${...}" links
                               let each setting stand once
      training/workers         which processes train: one, one for each GPU, or those of a launcher
      user_dir/__init__        fairseq imports it: tasks, models, criterions and the optimizer are
                               registered, and `replacements` repairs fairseq
      training/start           settings are checked together, errors become one line (`output`)
      tasks/                   opens the data of a split and builds the model

    In the processes that load data:
      data/manifest            a memory-mapped table of clips, shared by all processes
      audio/read               one clip: (S,) float32, mono, only the part that is needed
      audio/log_mel            (1, T, F): padded or cropped to target_length, (x - mean) / (2 std)
      nn/masking               (K, L) bool, True = hidden; seeded, so that a clip has the same masks
                               in the same epoch of every run
      data/datasets            the collater: net_input = {source (B, 1, T, F), mask (B, K, L)}
      training/bad_audio       another clip in place of one that cannot be read
      training/epochs          batches in order; a resumed run goes on at the clip where it stopped
      training/shared_memory   how a batch gets to the training process

    In the training process, called by fairseq's trainer:
      training/guarded         task.train_step: forward and backward, with the guards around them
      training/stalling        ends this process if it waits for ever
        nn/mixtures            with model.mixtures alone: clips and their mixtures, in one batch
        models/pretraining     student: patches + positions -> K clones -> V visible patches -> CLS
                               -> blocks -> (B*K, 1+V, D)
                               decoder: visible patches back on the grid, noise elsewhere
                               -> predictions at the hidden patches (M, D)
                               teacher: all patches, no gradient -> outputs of all blocks,
                               normalised and averaged -> targets (B, L, D)
        criterions/ufo         frame loss + utterance_weight * utterance loss (+ that of mixtures)
      training/workers         the mean of the gradients of all workers, during the backward pass
      training/gradients       task.optimizer_step: skips it unless all gradients are finite
        optim/adamw            one step of AdamW
        training/masters       in bf16 and fp16: on float32 weights, which checkpoints hold
        tasks/pretraining      one step of the teacher towards the student; checks for collapse
      training/start           before the first update: the run's log, and how it was started
      training/validation      validation: effective ranks, and what else needs all of its clips
      training/probing         and, before it, probes of student and teacher on labelled clips
      training/saving          after the update: by time, at the end, and when asked to stop
      training/checkpoint_files   checkpoints, complete or absent

    From then on: `eat.load_encoder(checkpoint)` -> features, classifier, export.

Fine-tuning differs in data/classification (targets, augmentation), models/classification,
criterions/classification and tasks/classification (a metric of the whole validation set).

`replacements` holds the table of all that is replaced in fairseq: what, why, and until when.
`record` says what a run leaves for people, and `run` reads it; both need no fairseq.
"""
