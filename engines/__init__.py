"""The machine room: arrays in, arrays out; knows no weather."""
