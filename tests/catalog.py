"""Everything that PostgreSQL's catalogs say of the pipeline's schema, to compare two databases."""

from typing import Final

from tests.pipeline import Database

QUERIES: Final = (
    """
    SELECT 'relation', relname, relkind, relpersistence, relispartition, relreplident, reloptions,
           (SELECT reloptions FROM pg_class AS toast WHERE toast.oid = relation.reltoastrelid), relowner::regrole::text,
           ARRAY(SELECT item::text FROM aclexplode(coalesce(relacl, acldefault(
               CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) AS item ORDER BY 1)
    FROM pg_class AS relation WHERE relnamespace = 'public'::regnamespace
    """,
    """
    SELECT 'column', relname, row_number() OVER (PARTITION BY relname ORDER BY attnum), attname,
           format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation::text, attstorage, attidentity,
           attgenerated, pg_get_expr(adbin, adrelid), attoptions, attacl::text
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i' AND attnum > 0 AND NOT attisdropped
    """,
    """
    SELECT 'constraint', conrelid::regclass::text, conname, contype, convalidated, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    """
    SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
    """,
    """
    SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid),
           ARRAY(SELECT item::text FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) AS item ORDER BY 1)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
    "SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'",
    """
    SELECT 'sequence', sequencename, data_type::text, start_value, min_value, max_value, increment_by, cycle
    FROM pg_sequences WHERE schemaname = 'public'
    """,
    # Partitions keep the comments that their table had when they were created.
    """
    SELECT 'comment', identity, description
    FROM pg_description, LATERAL pg_identify_object(classoid, objoid, objsubid)
    WHERE identity ~ '^public[.]' AND identity !~ '^public[.]heartbeats_(old|[0-9]{8})[.]'
    """,
    "SELECT 'migration', number, name FROM heartbeat_migrations",
)


def catalog(database: Database) -> set[str]:
    """Return one line for each relation, column, constraint, index, function, view, sequence, comment and migration."""
    return {str(row) for query in QUERIES for row in database.query(query)}
