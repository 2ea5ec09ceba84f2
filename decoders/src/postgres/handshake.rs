//! Statements that client libraries send by themselves right after the log-in. Only whole texts that are known count:
//! servers that speak the protocol and are not `PostgreSQL` refuse some of them, and the libraries go on.

/// Statements as the libraries write them, without white space and `;` at the end.
const STATEMENTS: [&str; 20] = [
    // pgjdbc
    "SET extra_float_digits = 3",
    "SET extra_float_digits = 2",
    "SET application_name = 'PostgreSQL JDBC Driver'",
    // libpq, for target_session_attrs
    "SHOW transaction_read_only",
    "SELECT pg_catalog.pg_is_in_recovery()",
    // pg_dump and its like
    "SELECT pg_catalog.set_config('search_path', '', false)",
    // postgres_fdw
    "SET search_path = pg_catalog",
    "SET timezone = 'GMT'",
    "SET datestyle = ISO",
    "SET intervalstyle = postgres",
    // SQLAlchemy
    "select pg_catalog.version()",
    "select current_schema()",
    "show standard_conforming_strings",
    "show transaction isolation level",
    // ActiveRecord
    "SET client_min_messages TO 'warning'",
    "SET standard_conforming_strings = on",
    "SET intervalstyle = iso_8601",
    "SET SESSION timezone TO 'UTC'",
    // Django
    "SELECT set_config('TimeZone', 'UTC', false)",
    // psycopg2
    "SET DATESTYLE TO 'ISO'",
];

/// Beginnings of the long statements by which libraries read the server's types.
const INTROSPECTIONS: [&str; 3] = [
    // npgsql
    "SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid",
    "SELECT version();\n\nSELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid",
    // asyncpg
    "WITH RECURSIVE typeinfo_tree(\n    oid, ns, name, kind, basetype, elemtype, elemdelim,",
];

/// Tells whether a client library sends `statement` by itself when it connects.
pub(super) fn is_library_made(statement: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(statement) else { return false };
    let text = text.trim().replace("\r\n", "\n");
    let whole = text.trim_end_matches(';').trim_end();
    STATEMENTS.iter().any(|known| known.eq_ignore_ascii_case(whole))
        || INTROSPECTIONS.iter().any(|known| text.starts_with(known))
}
