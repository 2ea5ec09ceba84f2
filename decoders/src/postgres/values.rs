//! Columns and values of results and parameters, in text and binary format.

use crate::sql::cursor::Cursor;

/// Most columns whose names and types are kept.
const MAX_COLUMNS: usize = 1024;

/// One column of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PostgresColumn {
    pub(super) name: Vec<u8>,
    pub(super) kind: u32,
    pub(super) binary: bool,
}

/// Reads a `RowDescription`.
pub(super) fn columns(body: &[u8]) -> Vec<PostgresColumn> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16_be().map_or(0, usize::from).min(MAX_COLUMNS);
    let mut columns = Vec::new();
    while columns.len() < count {
        let name = cursor.text().to_vec();
        cursor.bytes(6);
        let Some(kind) = cursor.u32_be() else { break };
        cursor.bytes(6);
        let binary = cursor.u16_be() == Some(1);
        columns.push(PostgresColumn { name, kind, binary });
    }
    columns
}

/// Reads the cells of a `DataRow`.
pub(super) fn row(body: &[u8], columns: &[PostgresColumn], formats: &[u16]) -> Vec<Option<Vec<u8>>> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16_be().map_or(0, usize::from);
    let mut cells = Vec::new();
    for index in 0..count {
        let Some(value) = field(&mut cursor) else { break };
        let column = columns.get(index);
        let binary =
            format(formats, index).map_or(column.is_some_and(|column| column.binary), |format| format == 1);
        cells.push(value.map(|value| {
            if binary { from_binary(value, column.map_or(0, |column| column.kind)) } else { value.to_vec() }
        }));
    }
    cells
}

/// Reads a value with its length; the inner `None` is NULL.
#[expect(clippy::option_option, reason = "a value that is missing and one that is NULL are two things")]
pub(super) fn field<'a>(cursor: &mut Cursor<'a>) -> Option<Option<&'a [u8]>> {
    let length = cursor.u32_be()?;
    if length == u32::MAX {
        return Some(None);
    }
    // Of a value that was not captured in full, what is there.
    let length = usize::try_from(length).ok()?.min(cursor.rest().len());
    cursor.bytes(length).map(Some)
}

/// Returns the format of value `index`: none given, one for all, or one each.
pub(super) fn format(formats: &[u16], index: usize) -> Option<u16> {
    match formats {
        [] => None,
        [all] => Some(*all),
        each => each.get(index).copied(),
    }
}

/// Reads a list of 16-bit numbers behind its length.
pub(super) fn numbers(cursor: &mut Cursor<'_>) -> Option<Vec<u16>> {
    let count = usize::from(cursor.u16_be()?);
    (0..count).map(|_| cursor.u16_be()).collect()
}

/// Writes a binary value as text where its type is one of the common ones, else in hexadecimal.
pub(super) fn from_binary(value: &[u8], kind: u32) -> Vec<u8> {
    let number = match (kind, value.len()) {
        (16, 1) => Some(if value == [0] { "f".to_owned() } else { "t".to_owned() }),
        (21, 2) => value.try_into().ok().map(|bytes| i16::from_be_bytes(bytes).to_string()),
        (23, 4) => value.try_into().ok().map(|bytes| i32::from_be_bytes(bytes).to_string()),
        (26, 4) => value.try_into().ok().map(|bytes| u32::from_be_bytes(bytes).to_string()),
        (20, 8) => value.try_into().ok().map(|bytes| i64::from_be_bytes(bytes).to_string()),
        (700, 4) => value.try_into().ok().map(|bytes| f32::from_be_bytes(bytes).to_string()),
        (701, 8) => value.try_into().ok().map(|bytes| f64::from_be_bytes(bytes).to_string()),
        _ => None,
    };
    if let Some(number) = number {
        return number.into_bytes();
    }
    // char, name, text, json, xml, unknown, bpchar, varchar
    if matches!(kind, 18 | 19 | 25 | 114 | 142 | 705 | 1042 | 1043) {
        return value.to_vec();
    }
    let mut text = b"\\x".to_vec();
    for byte in value {
        text.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    text
}
