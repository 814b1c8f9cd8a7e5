// Does the initialisation of a LoRA matter? Each initialiser with a few and with more shots; the model's function at step
// 0 is the same for all. PEFT's eva and corda use the training rows.
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo_initialisers.jsonnet --results-path results/demo_initialisers
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'etc/demo/data/sentiment', task_type: 'classification', max_n_test: 100 },
  model: { name: 'etc/demo/model' },
  lora: { r: 8, lora_alpha: 16, target_modules: 'all-linear' },
  prompting: {
    instruction: 'Label this review.',
    input_columns: ['text'],
    output_column: 'label',
    max_input_length: 128,
  },
  training: { trainer_args: { max_steps: 70, per_device_train_batch_size: 16, learning_rate: 1e-3 } },
  inference: { max_seq_length: 1024 },
}, vary={
  'dataset.shots': [4, 16],
  'lora.init_lora_weights': [true, 'pca', 'pissa', 'orthogonal', 'olora', 'eva', 'corda'],
}, seeds=[13, 14])
