"""The tokenizer vocabularies, as data. Read by rules.meters.vocabulary."""
