// In-context examples or training? News in a few sentences, with rows shown, trained on, or both.
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'abisee/cnn_dailymail', args: { name: '3.0.0' }, task_type: 'generation', max_n_test: 100 },
  model: { name: 'Qwen/Qwen2.5-0.5B-Instruct' },
  lora: { r: 16, lora_alpha: 32, lora_dropout: 0, target_modules: 'all-linear' },
  prompting: {
    instruction: 'Summarise the article in three or four short sentences.',
    input_columns: ['article'],
    output_column: 'highlights',
    max_input_length: 512,
    max_output_length: 128,
  },
  training: {
    trainer_args: {
      num_train_epochs: 2,
      per_device_train_batch_size: 1,
      gradient_accumulation_steps: 8,
      learning_rate: 1e-4,
    },
  },
  inference: {
    batch_size: 'auto',
    max_seq_length: 4096,
    generation_args: { do_sample: false, max_new_tokens: 128 },
  },
}, vary={
  'dataset.shots': [0, 16, 64],
  'inference.icl_examples': [0, 2],
}, seeds=[13, 14])
