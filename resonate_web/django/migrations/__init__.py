"""One migration per version of the schema: `migrate` brings a store in a Django database to it."""
