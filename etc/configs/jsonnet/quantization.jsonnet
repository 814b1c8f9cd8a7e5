// Does a quantised base cost accuracy? The same recipe on the base as it is, in eight and in four bits, and on an AWQ
// checkpoint. Needs: pip install bitsandbytes gptqmodel
local grid = import 'lib/grid.libsonnet';

local bitsandbytes(args) = {
  name: 'Qwen/Qwen2.5-0.5B-Instruct',
  quantization: { config_class: 'BitsAndBytesConfig', args: args },
};

grid({
  dataset: { path: 'nyu-mll/glue', args: { name: 'mnli' }, test_split: 'validation_matched',
             task_type: 'classification', max_n_test: 1000 },
  lora: {
    r: 8, lora_alpha: 16, lora_dropout: 0,
    target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
  },
  prompting: {
    instruction: 'Does the premise entail the hypothesis? Answer yes, maybe or no.',
    input_columns: ['premise', 'hypothesis'],
    output_column: 'label',
    max_input_length: 96,
    verbalizers: { entailment: 'yes', neutral: 'maybe', contradiction: 'no' },
  },
  training: { trainer_args: { num_train_epochs: 5, per_device_train_batch_size: 8, learning_rate: 1e-4 } },
  inference: { batch_size: 'auto', max_seq_length: 1024 },
}, vary={
  'dataset.shots': [0, 32],
  model: {
    full: { name: 'Qwen/Qwen2.5-0.5B-Instruct' },
    int8: bitsandbytes({ load_in_8bit: true }),
    nf4: bitsandbytes({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_compute_dtype: 'bfloat16' }),
    awq: { name: 'Qwen/Qwen2.5-0.5B-Instruct-AWQ' },
  },
}, seeds=[13, 14, 15])
