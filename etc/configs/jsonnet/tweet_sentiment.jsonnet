// Shots, in-context examples and initialisations of LoRA, on tweets.
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'mteb/tweet_sentiment_extraction', task_type: 'classification', max_n_test: 1000 },
  model: { name: 'Qwen/Qwen2.5-0.5B-Instruct' },
  lora: { r: 8, lora_alpha: 16, lora_dropout: 0, target_modules: 'all-linear' },
  prompting: {
    instruction: 'Is this tweet negative, neutral or positive?',
    input_columns: ['text'],
    output_column: 'label_text',
    max_input_length: 64,
  },
  training: { trainer_args: { num_train_epochs: 5, per_device_train_batch_size: 8, learning_rate: 1e-4 } },
  inference: { batch_size: 'auto', max_seq_length: 1024 },
}, vary={
  'dataset.shots': [0, 8, 16, 32],
  'inference.icl_examples': [0, 2],
  'lora.init_lora_weights': [true, 'pca', 'pissa'],
}, seeds=[13, 14, 15])
