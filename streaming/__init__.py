"""Kafka in and out, and the Flink job between: producers, consumers, topics, and the launching of `streaming/jobs`.

Runs in the main environment, except `streaming.jobs`, the only importer of pyflink, which runs in the streaming one as
a child process. Imports conf, schemas and models; never `jobs` (Spark) and never `lake`.

What the room holds:

- `clients`: a producer, a consumer, an admin client; one place for their settings and for "the broker is away".
- `topics`: the topics of `schemas.topics` with this universe's prefix, made if they are absent.
- `produce`: frames to topics; a world's day with its poison and its control records, in arrival order.
- `consume`: `snapshot` of a compacted topic, `messages` and `tail` of any.
- `jobs.qoe`: the live QoE job (PyFlink Table API and SQL); `jobs.plan` renders its SQL without importing pyflink.
- `launch`, `follow`, `rest`: submitting, watching and stopping it by Flink's REST interface.
"""
