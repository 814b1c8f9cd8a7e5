// Which examples in the prompt help a tiny model, and how many, with nothing trained?
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo_icl.jsonnet --results-path results/demo_icl
local grid = import 'lib/grid.libsonnet';

grid({
  dataset: { path: 'etc/demo/data/sentiment', task_type: 'classification', max_n_test: 100 },
  model: { name: 'etc/demo/model' },
  prompting: {
    instruction: 'Label this review.',
    input_columns: ['text'],
    output_column: 'label',
    max_input_length: 128,
  },
  inference: { max_seq_length: 1024 },
}, vary={
  'inference.icl_selection': ['random', 'balanced', 'nearest'],
  'inference.icl_examples': [0, 1, 4],
}, seeds=[13, 14])
