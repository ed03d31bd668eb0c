#!/bin/sh
# Run once, when the Postgres of docker-compose.yml is set up: the host's user and its rights, with the password of .env.
set -eu
sed "s/'change-me'/:'password'/" /etc/wasmill/postgres.sql |
  psql -q -v ON_ERROR_STOP=1 -v password="$WASMILL_PASSWORD" -U "${POSTGRES_USER:-postgres}" -d "$POSTGRES_DB"
