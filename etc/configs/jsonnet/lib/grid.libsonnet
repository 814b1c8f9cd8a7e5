// A grid of experiments from one base config and what varies.
//
//   local grid = import 'lib/grid.libsonnet';
//   grid({ dataset: {…}, model: {…}, … }, vary={
//     'dataset.shots': [0, 8, 16],                        // a dotted key and its values
//     'model.name': { small: 'org/a-0.5B', big: 'org/a-7B' },   // {name in tables: value}
//     'lora.r,lora.lora_alpha': [[8, 16], [16, 32]],      // keys that change together: one list for each setting
//     model: [{ name: 'org/a' }, { name: 'org/a', quantization: {…} }],    // a whole section, replaced
//   }, seeds=[13, 14, 15])
//
// Every combination becomes an experiment named by what varies: `shots=8 r=16 alpha=32`. Settings that have no effect
// create no experiments: at 0 shots those of lora, adapter and training (which are removed from the config), without
// in-context examples their selection, with full_finetuning those of lora and adapter, without validation_size its
// patience. So zero-shot rows appear once.

local aliases = {
  'dataset.shots': 'shots',
  'dataset.path': 'data',
  'inference.icl_examples': 'icl',
  'inference.icl_selection': 'selection',
  'training.icl_examples': 'train_icl',
  'lora.init_lora_weights': 'init',
  'lora.lora_alpha': 'alpha',
  'model.name': 'model',
  'model.quantization': 'quant',
  'inference.label_scoring': 'scoring',
  'inference.calibration_args': 'calibration',
  'inference.calibration_args.calibration_fn': 'calibration',
  'training.trainer_args.learning_rate': 'lr',
  'training.trainer_args.num_train_epochs': 'epochs',
  'training.trainer_args.max_steps': 'steps',
  'training.trainer_args.per_device_train_batch_size': 'batch',
};

local check(condition, message) = if condition then true else error 'grid: ' + message;

// Whether all are different. Long lists are not checked: Jsonnet sorts slowly, and rejects equal names itself.
local distinct(texts) = std.length(texts) > 100 || std.length(std.set(texts)) == std.length(texts);

// `a`, `a`, `b` -> `a`, `a #2`, `b`
local numbered(names) =
  if distinct(names) then names
  else [
    local before = std.count(names[:i], names[i]);
    if before == 0 then names[i] else '%s #%d' % [names[i], before + 1]
    for i in std.range(0, std.length(names) - 1)
  ];
local split(key) = std.split(std.strReplace(key, ' ', ''), ',');
local last(list) = list[std.length(list) - 1];

// ---- values as short texts ------------------------------------------------------------------------------------------

local number(x) =
  if x == std.floor(x) && std.abs(x) < 1e15 then std.toString(x) else std.format('%g', x);

local cut(text) = if std.length(text) <= 40 then text else std.substr(text, 0, 39) + '…';

// The last part of a path or Hub id, without a data file's suffix: `org/model-7B` is `model-7B`.
local basename(text) =
  local parts = [part for part in std.split(text, '/') if part != ''];
  if std.length(parts) == 0 then text else last(parts);

local short(value) =
  if value == null then 'none'
  else if std.isString(value) then basename(value)
  else if std.isNumber(value) then number(value)
  else if std.isBoolean(value) then (if value then 'yes' else 'no')
  else if std.isArray(value) then std.join('+', [short(item) for item in value])
  else if std.objectHas(value, 'config_class') then quantization(value)
  else if std.objectHas(value, 'name') then
    std.join('+', [short(value.name)] + [short(value[key]) for key in std.objectFields(value) if key != 'name'])
  else if std.length(value) == 0 then '{}'
  else std.join('+', [
    if std.isBoolean(value[key]) then (if value[key] then key else 'no-' + key)
    else if std.isNumber(value[key]) then key + number(value[key])
    else short(value[key])
    for key in std.objectFields(value)
  ]),
      quantization(value) =
  local args = if std.objectHas(value, 'args') then value.args else {};
  if std.get(args, 'load_in_8bit', false) then 'int8'
  else if std.get(args, 'load_in_4bit', false) then std.get(args, 'bnb_4bit_quant_type', 'fp4')
  else std.join('-', [std.strReplace(value.config_class, 'Config', '')] + [
    short(args[key])
    for key in ['bits', 'nbits', 'weights']
    if std.objectHas(args, key)
  ]);

local valueName(key, value) =
  if key == 'lora.init_lora_weights' && value == true then 'default' else cut(short(value));

// ---- settings -------------------------------------------------------------------------------------------------------

// The object that, added to a config, sets the value at a path.
local patch(path, i, value) =
  if i == std.length(path) - 1 then { [path[i]]: value } else { [path[i]]+: patch(path, i + 1, value) };

local isSettable(config, path) =
  std.isObject(config)
  && (std.length(path) == 1 || !std.objectHas(config, path[0]) || isSettable(config[path[0]], path[1:]));

// ---- what varies ----------------------------------------------------------------------------------------------------

local starts(key, section) = key == section || std.startsWith(key, section + '.');
local within(keys, sections) = std.all([std.any([starts(key, section) for section in sections]) for key in keys]);
local among(keys, possible) = std.all([std.member(possible, key) for key in keys]);

// When an axis has no effect: all its keys concern training, the selection of examples, …
local needs(keys) =
  local training = within(keys, ['lora', 'adapter', 'training', 'seeds.init', 'seeds.training', 'seeds.shots']);
  local examples = among(keys, ['inference.random_icl', 'inference.icl_pool', 'inference.icl_selection']);
  local trainingExamples = among(keys, ['training.random_icl']);
  local anyExamples = among(keys, ['seeds.icl']);
  // locals are evaluated once, fields at each use
  local adapter = within(keys, ['lora', 'adapter', 'seeds.init']);
  local patience = among(keys, ['training.early_stopping_patience']);
  { training: training, examples: examples, trainingExamples: trainingExamples, anyExamples: anyExamples,
    adapter: adapter, patience: patience };

// Axes that determine the effect of others come first: shots, then in-context examples.
local deciding = ['training', 'training.icl_examples', 'training.full_finetuning', 'training.validation_size'];
local rank(keys) =
  if std.any([std.member(['dataset', 'dataset.shots'], key) for key in keys]) then 0
  else if std.any([std.member(['inference', 'inference.icl_examples'], key) for key in keys]) then 1
  else if std.any([std.member(deciding, key) for key in keys]) then 2
  else 3;

// One axis. `patches[i]` added to a config sets value i, `titles[i]` is its part of the name.
local axis(base, key, given, keyNames) =
  local keys = split(key);
  local paths = [std.split(one, '.') for one in keys];
  local each = std.range(0, std.length(keys) - 1);
  local where = "vary['%s']" % key;
  local named = std.isObject(given);
  local listed = if named then [given[name] for name in std.objectFields(given)] else given;
  assert check(named || std.isArray(given), where + ' must be a list, or an object {name: value}');
  assert check(std.length(listed) > 0, where + ' has no values');
  assert check(!std.member(std.flattenArrays(paths), ''), where + ': a part of the key is empty');
  assert check(std.all([isSettable(base, path) for path in paths]), where + ': base has no object to set this in');
  local single = std.length(keys) == 1;
  assert check(
    single || std.all([std.isArray(item) && std.length(item) == std.length(keys) for item in listed]),
    where + ': each entry must be a list of %d values, one for each key' % std.length(keys)
  );
  local values = if single then [[item] for item in listed] else listed;
  local title(item, text) = std.join(' ', [keyNames[keys[k]] + '=' + text(keys[k], item[k]) for k in each]);
  local brief = [title(item, valueName) for item in values];
  local long = [title(item, function(_, value) std.toString(value)) for item in values];
  local titles =
    if named then [keyNames[keys[0]] + '=' + name for name in std.objectFields(given)]
    else if distinct(brief) then brief
    else numbered(long);
  local patches = [
    std.foldl(function(sum, k) sum + patch(paths[k], 0, item[k]), each, {})
    for item in values
  ];
  local needed = needs(keys), order = rank(keys);
  { titles: titles, patches: patches, needs: needed, rank: order };

// Short names of keys: alias or last part; the whole key if two would be the same.
local shortKeys(keys) =
  local names = [std.get(aliases, key, last(std.split(key, '.'))) for key in keys];
  {
    [keys[i]]: if std.count(names, names[i]) > 1 then keys[i] else names[i]
    for i in std.range(0, std.length(keys) - 1)
  };

// ---- experiments ----------------------------------------------------------------------------------------------------

local without(config, keys) =
  { [key]: config[key] for key in std.objectFields(config) if !std.member(keys, key) };

local isZero(config, section, key) =
  local found = if std.objectHas(config, section) then config[section];
  !std.isObject(found) || !std.objectHas(found, key) || found[key] == null || found[key] == 0;

// The unused parts of a config.
local unused(config) =
  local shots = isZero(config, 'dataset', 'shots');
  local examples = isZero(config, 'inference', 'icl_examples');
  local trainingExamples = shots || isZero(config, 'training', 'icl_examples');
  local anyExamples = examples && trainingExamples;
  local whole = !isZero(config, 'training', 'full_finetuning') && config.training.full_finetuning == true;
  local unjudged = isZero(config, 'training', 'validation_size');
  { training: shots, examples: examples, trainingExamples: trainingExamples, anyExamples: anyExamples,
    adapter: whole, patience: unjudged };

local isIdle(needs, unused) =
  (needs.training && unused.training)
  || (needs.examples && unused.examples)
  || (needs.trainingExamples && unused.trainingExamples)
  || (needs.anyExamples && unused.anyExamples)
  || (needs.adapter && unused.adapter)
  || (needs.patience && unused.patience);

// A config without its unused parts.
local used(config, unused) =
  local trained = without(config, if unused.training then ['lora', 'adapter', 'training']
                          else if unused.adapter then ['lora', 'adapter'] else []);
  local training = std.get(trained, 'training');
  if unused.patience && std.isObject(training) && std.objectHas(training, 'early_stopping_patience')
  then trained { training: without(training, ['early_stopping_patience']) }
  else trained;

// Every row with every value of the next axis, if that axis has an effect.
local expand(rows, axes, first) =
  if first == std.length(axes) then rows
  else
    local axis = axes[first], titles = axis.titles, patches = axis.patches, needs = axis.needs;
    local all = std.range(0, std.length(titles) - 1);
    local decides = axis.rank < 3;
    local with(row, i) =
      local config = row.config + patches[i];
      local now = if decides then unused(config) else row.unused;
      local before = row.name;
      local name = if before == '' then titles[i] else before + ' ' + titles[i];
      { config: config, name: name, unused: now };
    local next = [
      if i < 0 then row else with(row, i)
      for row in rows
      for i in (if isIdle(needs, row.unused) then [-1] else all)
    ];
    expand(next, axes, first + 1);

function(base, vary={}, seeds=null)
  assert check(std.isObject(base), 'base must be a config');
  assert check(std.isObject(vary), 'vary must be an object {key: values}');
  local keys = std.flatMap(split, std.objectFields(vary));
  assert check(distinct(keys), 'a key varies twice: ' + std.join(', ', keys));
  assert check(
    !std.any([std.startsWith(one, other + '.') for one in keys for other in keys]), 'a key varies inside of another: '
                                                                                     + std.join(', ', keys)
  );
  local keyNames = shortKeys(keys);
  local nameless = if std.objectHas(base, 'name') then without(base, ['name']) else base;
  local axes = std.sort([axis(nameless, key, vary[key], keyNames) for key in std.objectFields(vary)], function(one) one.rank);
  assert std.all([std.length(one.titles) > 0 for one in axes]);  // evaluated here so that an error names the caller's line
  local start = { config: nameless, name: '', unused: unused(nameless) };
  local rows = expand([start], axes, 0);
  local unnamed = std.get(base, 'name', if std.length(axes) == 0 then 'experiment' else 'zero-shot');
  local titles = [if row.name == '' then unnamed else row.name for row in rows];
  {
    configs: {
      [titles[i]]: used(rows[i].config, rows[i].unused)
      for i in std.range(0, std.length(rows) - 1)
    },
    [if seeds != null then 'seeds']: seeds,
  }
