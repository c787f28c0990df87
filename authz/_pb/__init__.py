"""Generated protobuf code; its source is protos/, its generator protos/generate.py."""
