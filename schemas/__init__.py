"""What the data is: records (Avro, in `records/`), tables, topics, metrics, and their renderers. Imports no engine."""
