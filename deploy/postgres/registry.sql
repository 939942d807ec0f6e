-- The catalog's database is made by POSTGRES_DB; the schema registry has one of its own.
CREATE DATABASE registry;
