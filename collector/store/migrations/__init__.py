"""How the database comes from any former version to this one: run by `collector.store.database` when it is opened."""
