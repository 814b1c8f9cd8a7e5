// How much do shots help a tiny model? Runs on a laptop without a network:
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo.jsonnet --results-path results/demo
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'etc/demo/data/sentiment', task_type: 'classification' },
  model: { name: 'etc/demo/model' },
  lora: { r: 8, lora_alpha: 16, target_modules: 'all-linear' },
  prompting: {
    instruction: 'What does the writer feel: negative, neutral or positive?',
    input_columns: ['text'],
    output_column: 'label',
  },
  training: { trainer_args: { max_steps: 40, per_device_train_batch_size: 8, learning_rate: 5e-3 } },
  inference: { batch_size: 'auto', max_seq_length: 512 },
}, vary={
  'dataset.shots': [0, 4, 16, 64],
}, seeds=[13, 14, 15])
