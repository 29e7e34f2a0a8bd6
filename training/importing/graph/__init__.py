"""Analysis and rewriting of a foreign graph: functions over ONNX models, which know no task and no bundle."""
