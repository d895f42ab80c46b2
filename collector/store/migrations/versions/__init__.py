"""One step each, frozen: a step never imports the schema, which is always the last one's."""
