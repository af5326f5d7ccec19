"""What is on disk: records, JSONL, safetensors, stage marks. The ground floor: imports nothing of ours."""
