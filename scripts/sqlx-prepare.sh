#!/usr/bin/env bash
# Checks every query of the coordinator against a fresh, private database and rewrites .sqlx/.
# Called by `make sqlx`. It calls itself again inside the database.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
CARGO=${CARGO:-cargo}

if [[ "${1:-}" != "inside" ]]; then
    exec "$CARGO" run --quiet --package gauntlet-postgres --example with-database -- "$0" inside
fi

for migration in migrations/*.sql; do
    psql "$DATABASE_URL" --no-psqlrc --quiet --set ON_ERROR_STOP=1 --single-transaction --file "$migration"
done

fresh=$PWD/.sqlx.fresh
rm -rf "$fresh"
mkdir "$fresh"
trap 'rm -rf "$fresh"' EXIT
# The macros write their findings while the crate is compiled, so it has to be compiled anew.
find coordinator -name '*.rs' -not -path '*/target/*' -exec touch {} +
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh "$CARGO" check --package gauntlet-coordinator --all-targets
rm -rf .sqlx
mv "$fresh" .sqlx
echo "sqlx: $(find .sqlx -name '*.json' | wc -l) queries checked and written to .sqlx/"
