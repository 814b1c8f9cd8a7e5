// Does a quantised base cost accuracy? The same recipe on the unquantised base, in eight and in four bits (by two
// packages), and on quantised checkpoints. Needs: pip install bitsandbytes torchao gptqmodel~=7.6.0 optimum
local grid = import 'lib/grid.libsonnet';

local quantized(config_class, args) = {
  name: 'Qwen/Qwen2.5-0.5B-Instruct',
  quantization: { config_class: config_class, args: args },
};
local bitsandbytes(args) = quantized('BitsAndBytesConfig', args);
local nf4 = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_compute_dtype: 'bfloat16' };

grid({
  dataset: { path: 'nyu-mll/glue', args: { name: 'mnli' }, test_split: 'validation_matched',
             task_type: 'classification', max_n_test: 1000 },
  lora: { r: 8, lora_alpha: 16, lora_dropout: 0, target_modules: 'all-linear' },
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
    // with the default threshold, 6, a text's scores would depend on the other texts in its batch
    int8: bitsandbytes({ load_in_8bit: true, llm_int8_threshold: 0 }),
    nf4: bitsandbytes(nf4),
    nf4_double: bitsandbytes(nf4 { bnb_4bit_use_double_quant: true }),
    torchao: quantized('TorchAoConfig', { quant_type: 'int8_weight_only' }),
    awq: { name: 'Qwen/Qwen2.5-0.5B-Instruct-AWQ' },
    gptq: { name: 'Qwen/Qwen2.5-0.5B-Instruct-GPTQ-Int4' },
  },
}, seeds=[13, 14, 15])
