// How much do shots help a tiny model? Runs on a laptop without a network:
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo.jsonnet --results-path results/demo
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'etc/demo/data/sentiment', task_type: 'classification' },
  model: { name: 'etc/demo/model' },
  lora: { r: 8, lora_alpha: 16, target_modules: 'all-linear' },
  prompting: {
    instruction: 'Label this review.',
    input_columns: ['text'],
    output_column: 'label',
    max_input_length: 128,
  },
  training: { trainer_args: { max_steps: 70, per_device_train_batch_size: 16, learning_rate: 3e-3 } },
  inference: { batch_size: 'auto', max_seq_length: 1024 },
}, vary={
  'dataset.shots': [0, 4, 16, 64],
}, seeds=[13, 14, 15])
