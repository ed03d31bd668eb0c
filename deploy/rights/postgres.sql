-- What a host needs of Postgres, and nothing else. Run it in the target database as its owner, with another password:
--   psql -f deploy/rights/postgres.sql postgres://owner@db/simpsons
CREATE ROLE wasmill LOGIN PASSWORD 'change-me' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
-- A user's default path begins with the schema of its own name, which is wasmill's own here: tables belong into public.
ALTER ROLE wasmill SET search_path = public;
-- Its own records: how far it has got, and what it has refused.
CREATE SCHEMA wasmill AUTHORIZATION wasmill;
-- The host asks for that schema at each start, and Postgres wants this right even where it is there.
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO wasmill', current_database()); END $$;
-- Tables that it creates are its own. Where they are all there already, leave CREATE out and say so to the host:
-- [sinks.postgres.tables.quotes] create = false, evolve = "off"
GRANT USAGE, CREATE ON SCHEMA public TO wasmill;
-- A table of yours: INSERT for `write`; SELECT, UPDATE, DELETE for upserts and deletes.
--   GRANT SELECT, INSERT, UPDATE, DELETE ON quotes TO wasmill;
--   GRANT USAGE ON SEQUENCE quotes_quote_id_seq TO wasmill;
