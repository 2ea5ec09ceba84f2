//! Columns and values of results and parameters, in the text and the binary protocol.

use crate::sql::cursor::Cursor;

/// Bytes of the part of a column definition that is of one size, with its length before it.
const FIXED_BYTES: usize = 13;

/// One column of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MysqlColumn {
    pub(super) name: Vec<u8>,
    kind: ValueKind,
}

/// The type of a column or parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ValueKind {
    code: u8,
    unsigned: bool,
}

// === impl ValueKind ===

impl ValueKind {
    /// Reads the two bytes that describe a parameter.
    pub(super) fn parameter([code, flags]: [u8; 2]) -> Self {
        Self { code, unsigned: flags & 0x80 != 0 }
    }
}

// === impl MysqlColumn ===

impl MysqlColumn {
    /// Reads a column definition packet (protocol 4.1); `extended`: `MariaDB`'s extra field is there, `None`: where it is
    /// not, the fixed part and nothing else is left.
    pub(super) fn read(packet: &[u8], extended: Option<bool>) -> Option<Self> {
        let mut cursor = Cursor::new(packet);
        for _ in 0..4 {
            cursor.lenenc_bytes()?;
        }
        let name = cursor.lenenc_bytes()?.to_vec();
        cursor.lenenc_bytes()?;
        let rest = cursor.rest();
        if extended.unwrap_or(rest.len() != FIXED_BYTES) {
            cursor.lenenc_bytes()?;
        }
        cursor.lenenc()?;
        cursor.bytes(6)?;
        let code = cursor.byte()?;
        let flags = cursor.u16_le()?;
        Some(Self { name, kind: ValueKind { code, unsigned: flags & 0x20 != 0 } })
    }
}

/// Reads the cells of a row in the text protocol.
pub(super) fn text_row(packet: &[u8], columns: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut cursor = Cursor::new(packet);
    (0..columns).map_while(move |_| {
        if cursor.rest().first() == Some(&0xfb) {
            cursor.byte()?;
            return Some(None);
        }
        cursor.lenenc_bytes().map(Some)
    })
}

/// Reads the cells of a row in the binary protocol.
pub(super) fn binary_row(packet: &[u8], columns: &[MysqlColumn], count: usize) -> Vec<Option<Vec<u8>>> {
    let mut cursor = Cursor::new(packet);
    let bitmap = cursor.byte().and_then(|_| cursor.bytes(count.saturating_add(9) / 8)).unwrap_or_default();
    let mut cells = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        if bit(bitmap, index.saturating_add(2)) {
            cells.push(None);
            continue;
        }
        match value(&mut cursor, column.kind) {
            Some(value) => cells.push(Some(value.text)),
            None => break,
        }
    }
    cells
}

/// Tells whether bit `index` of a NULL bitmap is set.
pub(super) fn bit(bitmap: &[u8], index: usize) -> bool {
    let shift = u32::try_from(index % 8).unwrap_or(0);
    bitmap.get(index / 8).is_some_and(|byte| byte.checked_shr(shift).unwrap_or(0) & 1 == 1)
}

/// A value as text.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) text: Vec<u8>,
    /// It is written in quotes among parameters.
    pub(super) quoted: bool,
    /// Only its start was there.
    pub(super) cut: bool,
}

/// Reads one value of the binary protocol.
pub(super) fn value(cursor: &mut Cursor<'_>, kind: ValueKind) -> Option<Value> {
    let number = |text: String| Some(Value { text: text.into_bytes(), quoted: false, cut: false });
    let unsigned = kind.unsigned;
    match kind.code {
        0x01 => {
            let byte = cursor.byte()?;
            number(if unsigned { byte.to_string() } else { i8::from_le_bytes([byte]).to_string() })
        }
        0x02 | 0x0d => {
            let bytes = cursor.array()?;
            number(if unsigned {
                u16::from_le_bytes(bytes).to_string()
            } else {
                i16::from_le_bytes(bytes).to_string()
            })
        }
        0x03 | 0x09 => {
            let bytes = cursor.array()?;
            number(if unsigned {
                u32::from_le_bytes(bytes).to_string()
            } else {
                i32::from_le_bytes(bytes).to_string()
            })
        }
        0x08 => {
            let bytes = cursor.array()?;
            number(if unsigned {
                u64::from_le_bytes(bytes).to_string()
            } else {
                i64::from_le_bytes(bytes).to_string()
            })
        }
        0x04 => number(f32::from_le_bytes(cursor.array()?).to_string()),
        0x05 => number(f64::from_le_bytes(cursor.array()?).to_string()),
        0x06 => number("NULL".to_owned()),
        0x07 | 0x0a | 0x0c => date(cursor),
        0x0b => time(cursor),
        _ => {
            let mut ahead = *cursor;
            let length = ahead.lenenc()?;
            let text = cursor.lenenc_bytes()?.to_vec();
            let cut = u64::try_from(text.len()).is_ok_and(|there| there < length);
            Some(Value { text, quoted: true, cut })
        }
    }
}

fn date(cursor: &mut Cursor<'_>) -> Option<Value> {
    let length = usize::from(cursor.byte()?);
    let mut cursor = Cursor::new(cursor.bytes(length)?);
    let (year, month, day) = match length {
        0 => (0, 0, 0),
        _ => (cursor.u16_le()?, cursor.byte()?, cursor.byte()?),
    };
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if length > 4 {
        let [hour, minute, second] = cursor.array()?;
        text = format!("{text} {hour:02}:{minute:02}:{second:02}");
    }
    if length > 7 {
        text = format!("{text}.{:06}", cursor.u32_le()?);
    }
    Some(Value { text: text.into_bytes(), quoted: true, cut: false })
}

fn time(cursor: &mut Cursor<'_>) -> Option<Value> {
    let length = usize::from(cursor.byte()?);
    let mut cursor = Cursor::new(cursor.bytes(length)?);
    let mut text = "00:00:00".to_owned();
    if length >= 8 {
        let sign = if cursor.byte()? == 0 { "" } else { "-" };
        let days = cursor.u32_le()?;
        let [hour, minute, second] = cursor.array()?;
        let hours = u64::from(days).saturating_mul(24).saturating_add(u64::from(hour));
        text = format!("{sign}{hours:02}:{minute:02}:{second:02}");
    }
    if length >= 12 {
        text = format!("{text}.{:06}", cursor.u32_le()?);
    }
    Some(Value { text: text.into_bytes(), quoted: true, cut: false })
}
