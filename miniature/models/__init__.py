"""The networks of the miniature world's face models. torch alone, and onnx where a file is written."""
