"""The bus: what carries records in and out, in memory or through Apache Kafka."""
