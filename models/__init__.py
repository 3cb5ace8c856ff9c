"""What we compute: pure algorithms by domain; no engine, no Kafka, no files."""
