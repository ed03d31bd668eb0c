-- What a host needs of Postgres, and nothing else. Run it in the target database as its owner, with another password:
--   psql -f deploy/rights/postgres.sql postgres://owner@db/simpsons
CREATE ROLE wasmill LOGIN PASSWORD 'change-me' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
-- A user's default path begins with the schema of its own name, which is wasmill's own here: tables belong into public.
ALTER ROLE wasmill SET search_path = public;
-- Its own records, in tables that it creates there: how far it has got, what it has refused, and which modules were in
-- force from where on (module_history). To create them yourself instead, leave AUTHORIZATION out, run a host as the owner
-- once, and GRANT USAGE ON SCHEMA wasmill and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA wasmill. A host that
-- may not write module_history goes without it.
CREATE SCHEMA wasmill AUTHORIZATION wasmill;
-- Tables that it creates are its own. Where they are all there already, leave CREATE out and say so to the host:
-- [sinks.postgres.tables.quotes] create = false, evolve = "off"
GRANT USAGE, CREATE ON SCHEMA public TO wasmill;
-- A table of yours: INSERT for `write`; SELECT, UPDATE, DELETE for upserts and deletes.
--   GRANT SELECT, INSERT, UPDATE, DELETE ON quotes TO wasmill;
--   GRANT USAGE ON SEQUENCE quotes_quote_id_seq TO wasmill;
