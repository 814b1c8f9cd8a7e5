"""Calibrations of label probabilities, one file each; a user's own as `"module:function"`.

A calibration takes an `Evidence` (stored label scores as arrays) and returns normalised probabilities. It uses no model
and no files, so that stored scores can be calibrated in any way later. The names are in `sft.plugins`.
"""
