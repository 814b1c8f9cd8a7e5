// The same question for generated answers: the customer's town in an order, evaluated by exact match.
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo_extraction.jsonnet --results-path results/demo_extraction
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'etc/demo/data/extraction', task_type: 'generation', max_n_test: 150 },
  model: { name: 'etc/demo/model' },
  lora: { r: 8, lora_alpha: 16, target_modules: 'all-linear' },
  prompting: {
    instruction: 'Where does the customer live? Answer with the town.',
    input_columns: ['text'],
    output_column: 'answer',
    max_input_length: 128,
    max_output_length: 12,
  },
  training: { trainer_args: { max_steps: 70, per_device_train_batch_size: 16, learning_rate: 3e-3 } },
  inference: { batch_size: 'auto', max_seq_length: 1024 },
}, vary={
  'dataset.shots': [0, 4, 16, 64],
}, seeds=[13, 14, 15])
