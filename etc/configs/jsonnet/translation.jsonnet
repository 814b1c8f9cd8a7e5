// A grid written by hand: German to English, learning rate and rank by the number of sentence pairs.
local config(shots, r, learning_rate) = {
  dataset: {
    path: 'bentrevett/multi30k',
    task_type: 'generation',
    validation_split: 'validation[:200]',
    shots: shots,
    max_n_test: 200,
  },
  model: { name: 'Qwen/Qwen2.5-0.5B-Instruct' },
  lora: { r: r, lora_alpha: 2 * r, lora_dropout: 0, target_modules: 'all-linear' },
  prompting: {
    instruction: 'Translate the sentence into English.',
    input_columns: ['de'],
    output_column: 'en',
    max_input_length: 128,
    max_output_length: 128,
  },
  training: {
    trainer_args: { num_train_epochs: 3, per_device_train_batch_size: 8, learning_rate: learning_rate },
  },
  inference: {
    batch_size: 'auto',
    max_seq_length: 1024,
    generation_args: { do_sample: false, max_new_tokens: 128 },
  },
};

{
  configs: {
    ['shots=%d r=%d lr=%g' % [shots, r, learning_rate]]: config(shots, r, learning_rate)
    for shots in [16, 64, 256]
    for r in [8, 32]
    for learning_rate in [1e-4, 3e-4]
  },
  seeds: [13, 14, 15],
}
