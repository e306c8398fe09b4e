#!/bin/sh
# Runs one of PostgreSQL's client programs (psql, pg_dump, ...) with passwords from files: where a variable such as
# PGPASSWORD_FILE is set, the file that it names holds the password. Entry point of the schema job in docker-compose.yml.
set -eu

for name in PGPASSWORD POSTGRESQL_CONSUMER_PASSWORD GRAFANA_POSTGRESQL_PASSWORD; do
    eval "file=\${${name}_FILE:-} password=\${$name:-}"
    [ -n "$file" ] || continue
    if [ -n "$password" ]; then
        echo "cannot use both $name and ${name}_FILE: each has a value" >&2
        echo "HINT: Remove one of the two." >&2
        exit 2
    fi
    if ! password=$(cat -- "$file" 2>/dev/null) || [ -z "$password" ]; then
        echo "cannot read the file that ${name}_FILE names, or it is empty" >&2 # not its name: that may be the password
        echo "HINT: Set it to the path of a file that this user may read and that holds only the password." >&2
        exit 2
    fi
    export "$name=$password"
done

code=0
"$@" || code=$?
if [ "$1" = psql ] && [ "$code" -eq 2 ]; then # psql could not connect
    echo "HINT: A PostgreSQL volume keeps the owner, password and database of its first start. If one of them was changed" \
        "in .env, set it back, or change it in the database as well (docs/production.md, \"Secrets\"). To begin with" \
        "an empty database: docker compose down --volumes." >&2
fi
exit "$code"
