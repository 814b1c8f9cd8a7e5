// Does it help to constrain the form of an answer? The customer's town in an order: any answer, or one word with a
// typical ending of towns. Needs the extra "constrain": pip install 'sft[constrain]'
//   python -m sft.cli run-experiments etc/configs/jsonnet/demo_constrained.jsonnet --results-path results/demo_constrained
// Other ways: { choices: ['Ashton', 'Norport'] } for a closed list, { json_schema: { type: 'object', … } } for JSON.
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
  'dataset.shots': [4, 16],
  'inference.constrain': {
    open: null,
    town: { regex: '[A-Z][a-z]{1,5}(bury|field|ford|ham|ley|mouth|port|ton|well|wick)' },
  },
}, seeds=[13, 14, 15])
