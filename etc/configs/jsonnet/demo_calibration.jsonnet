// Does calibrating label probabilities help, without and with in-context examples? Nothing is trained.
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo_calibration.jsonnet --results-path results/demo_calibration
// Every run stores its scores, so another calibration method needs no model:
//   python -m sft.cli report results/demo_calibration --calibration batch
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'etc/demo/data/sentiment', task_type: 'classification' },
  model: { name: 'etc/demo/model' },
  prompting: {
    instruction: 'Label this review.',
    input_columns: ['text'],
    output_column: 'label',
    max_input_length: 128,
  },
  inference: { max_seq_length: 1024 },
}, vary={
  'inference.icl_examples': [0, 2, 4],
  'inference.calibration_args': {
    none: null,
    contextual: { calibration_fn: 'contextual' },
    batch: { calibration_fn: 'batch' },
    supervised: { calibration_fn: 'supervised', num_train_samples: 32 },
  },
}, seeds=[13, 14, 15])
