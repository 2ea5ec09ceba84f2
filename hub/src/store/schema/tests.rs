//! Versions: the first stays what it was, and each later one only adds.

mod reference;

use super::*;

/// What version 1 of the product makes.
const FIRST: [(Dialect, &str); 2] = [
    (Dialect::Sqlite, include_str!("../../../tests/store/version-1.sqlite.sql")),
    (Dialect::Mysql, include_str!("../../../tests/store/version-1.mysql.sql")),
];

#[test]
fn the_first_version_stays_what_it_was() {
    for (dialect, text) in FIRST {
        let made = migration(0, dialect).join(";\n") + ";\n";
        assert_eq!(made, text, "{dialect:?}");
    }
}

#[test]
fn later_columns_are_at_the_end_and_rows_that_are_there_can_have_them() {
    for table in &TABLES {
        let since: Vec<u32> = table.columns.iter().map(|column| column.since).collect();
        assert!(
            since.is_sorted() && since.iter().all(|version| (1..=SCHEMA_VERSION).contains(version)),
            "{table:?}"
        );
    }
    let added: Vec<String> = (1..SCHEMA_VERSION).flat_map(|from| migration(from, Dialect::Mysql)).collect();
    assert_eq!(
        added,
        [
            "ALTER TABLE exchanges ADD COLUMN handshake TINYINT NOT NULL DEFAULT 0",
            "ALTER TABLE exchanges ADD COLUMN announced_addr VARCHAR(45)",
            "ALTER TABLE exchanges ADD COLUMN announced_port BIGINT",
            "ALTER TABLE exchanges ADD COLUMN reason VARCHAR(16)",
            "ALTER TABLE losses ADD COLUMN unit VARCHAR(16) NOT NULL DEFAULT ''",
            "ALTER TABLE losses DROP PRIMARY KEY, ADD PRIMARY KEY (session, at_ns, node, stage, unit)",
            "UPDATE IGNORE losses SET unit = 'events' WHERE unit = '' AND stage IN ('ring', 'miss', 'fault', \
             'unanchored', 'unseen', 'unparsable')",
            "UPDATE IGNORE losses SET unit = 'exchanges' WHERE unit = '' AND stage IN ('unpaired', 'uplink', \
             'viewer', 'store')",
            "ALTER TABLE exchanges ADD COLUMN connect_ns BIGINT",
            "ALTER TABLE exchanges ADD COLUMN zero_windows BIGINT",
            "ALTER TABLE exchanges ADD COLUMN clamped TINYINT NOT NULL DEFAULT 0",
            "ALTER TABLE exchanges ADD COLUMN request_way_ns BIGINT",
            "ALTER TABLE exchanges ADD COLUMN response_way_ns BIGINT",
            "ALTER TABLE exchanges ADD COLUMN way_error_ns BIGINT",
            "ALTER TABLE exchanges ADD COLUMN peer_node VARCHAR(253)",
            "ALTER TABLE exchanges ADD COLUMN peer_id BIGINT",
        ]
    );
}
