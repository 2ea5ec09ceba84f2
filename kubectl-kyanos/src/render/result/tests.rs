//! Results of statements in every format.

use super::*;

fn rows() -> Rows {
    let value = |kind| v1::Value { kind: Some(kind) };
    Rows {
        columns: ["id", "name", "name"].map(str::to_owned).to_vec(),
        rows: vec![
            v1::Row {
                values: vec![
                    value(Kind::Integer(-1)),
                    value(Kind::Text("a,\"b\"\n".to_owned())),
                    value(Kind::Blob(b"\xffx".to_vec())),
                ],
            },
            v1::Row {
                values: vec![value(Kind::Unsigned(u64::MAX)), v1::Value::default(), value(Kind::Real(0.5))],
            },
        ],
    }
}

#[test]
fn every_format_tells_every_value() {
    let rendered = |format| rows().render(format).expect("rendered");
    let table = "id                    name    name\n-1                    a,\"b\"   \\xffx\n18446744073709551615  NULL    0.5\n";
    assert_eq!(rendered(Format::Table), table);
    let json = "{\"id\":-1,\"name\":\"a,\\\"b\\\"\\n\",\"name_2\":\"\\\\xffx\"}\n{\"id\":18446744073709551615,\"name\":null,\"name_2\":0.5}\n";
    assert_eq!(rendered(Format::Json), json);
    let csv = "id,name,name\n-1,\"a,\"\"b\"\"\n\",\\xffx\n18446744073709551615,,0.5\n";
    assert_eq!(rendered(Format::Csv), csv);
    assert!(rendered(Format::Yaml).starts_with("- id: -1\n"));
}

#[test]
fn a_streamed_result_has_one_header() {
    let first = rows().part(Format::Csv, true).expect("rendered");
    let second = rows().part(Format::Csv, false).expect("rendered");
    assert_eq!(first, format!("id,name,name\n{second}"));
}

#[test]
fn long_values_are_cut_in_a_table_only() {
    let text = v1::Value { kind: Some(Kind::Text("x".repeat(100))) };
    let rows = Rows { columns: vec!["text".to_owned()], rows: vec![v1::Row { values: vec![text] }] };
    assert!(!rows.render(Format::Table).expect("rendered").contains(&"x".repeat(60)));
    assert!(rows.render(Format::Wide).expect("rendered").contains(&"x".repeat(100)));
}

#[test]
fn only_tables_escape_what_a_terminal_would_obey() {
    let hostile = "a\u{202e}b\u{feff}\u{2028}c";
    let value = |kind| v1::Value { kind: Some(kind) };
    let rows = Rows {
        columns: vec![hostile.to_owned(), "blob".to_owned()],
        rows: vec![v1::Row {
            values: vec![
                value(Kind::Text(hostile.to_owned())),
                value(Kind::Blob(hostile.as_bytes().to_vec())),
            ],
        }],
    };
    for format in [Format::Table, Format::Wide] {
        let text = rows.render(format).expect("rendered");
        assert_eq!(text.matches("a\\xe2\\x80\\xaeb\\xef\\xbb\\xbf\\xe2\\x80\\xa8c").count(), 3, "{text}");
    }
    assert_eq!(rows.render(Format::Json).expect("rendered").matches(hostile).count(), 3);
    assert_eq!(rows.render(Format::Csv).expect("rendered").matches(hostile).count(), 3);
    // YAML has escapes of its own for such characters.
    let yaml = rows.render(Format::Yaml).expect("rendered");
    let read: Vec<std::collections::BTreeMap<String, String>> = serde_yaml_ng::from_str(&yaml).expect("YAML");
    assert_eq!(read[0].values().filter(|value| *value == hostile).count(), 2, "{yaml}");
}
