"""The house: weather and Kafka, floor by floor."""
