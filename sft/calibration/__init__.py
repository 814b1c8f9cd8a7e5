"""Calibrations of label probabilities, one file each; a user's own as `"module:function"`.

A calibration takes an `Evidence`, stored label scores as arrays, and gives normalised probabilities. It knows no model
and no files, so scores that were made once can be calibrated in any way later. Their names: `sft.plugins`.
"""
