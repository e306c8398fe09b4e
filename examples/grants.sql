-- The rights of db/roles.sql for an example's table: psql --set=table=<name> --file=<its SQL> --file=examples/grants.sql
-- With --set=unique=true also the one that a contract with unique fields needs.
\getenv consumer POSTGRESQL_CONSUMER_USERNAME
\getenv reader GRAFANA_POSTGRESQL_USERNAME
GRANT SELECT, INSERT ON :"table" TO :"consumer";
GRANT SELECT ON :"table" TO :"reader";
\if :{?unique}
    \getenv database POSTGRESQL_DATABASE
    GRANT TEMPORARY ON DATABASE :"database" TO :"consumer";
\endif
