//! Reads the packets with which the server answers one command.

use super::command::MysqlStatement;
use super::database::{Database, Plan, Progress};
use super::login::Agreed;
use super::metadata;
use super::packet::Packet;
use super::values::{MysqlColumn, binary_row, text_row};
use crate::sql::{REDACTED, Secrets, cursor::Cursor, table::Table};

/// `SERVER_MORE_RESULTS_EXISTS`.
const MORE_RESULTS: u16 = 8;
/// `SERVER_STATUS_CURSOR_EXISTS`.
const CURSOR_EXISTS: u16 = 0x40;
/// `SERVER_STATUS_NO_BACKSLASH_ESCAPES`.
const NO_BACKSLASH_ESCAPES: u16 = 0x200;
/// `SERVER_SESSION_STATE_CHANGED`.
const SESSION_STATE_CHANGED: u16 = 0x4000;
/// The least body of an OK packet.
const OK_BYTES: usize = 7;
/// The error number of `MariaDB`'s progress reports.
const PROGRESS_ERROR: u16 = 0xffff;
/// Most columns whose names and types are kept.
const MAX_COLUMNS: usize = 512;

/// What kind of answer a command gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// OK or an error.
    #[default]
    Ok,
    /// Results in the text protocol.
    Text,
    /// Results in the binary protocol.
    Binary,
    /// Rows of an open cursor.
    Fetch,
    /// The description of a prepared statement.
    Prepare,
    /// Columns of a table.
    Fields,
    /// One packet of text.
    Line,
    /// An authentication.
    Login,
}

/// What a command makes of its answer.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) shape: Shape,
    /// What becomes of the current database if all goes well.
    pub(super) plan: Plan,
    /// What an error may repeat of the statement and must not come out.
    pub(super) secrets: Secrets,
}

/// What one packet is to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Part of it.
    Part,
    /// Part of the exchange, but the answer proper is still to come.
    Interim,
    /// The client shall send a file first.
    File,
    /// The last packet.
    Last,
}

/// What both ends know of the session beside its statements.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) agreed: Agreed,
    pub(super) database: Database,
    /// A backslash escapes nothing.
    pub(super) plain_backslash: bool,
}

/// An answer as it is read.
#[derive(Debug)]
pub(super) struct Answer {
    shape: Shape,
    stage: Stage,
    /// What a server says after a log-in is a secret.
    redact: bool,
    secrets: Secrets,
    progress: Progress,
    /// Results that ended, of several.
    results: usize,
    pub(super) table: Table,
    /// The number of the error that ended it.
    pub(super) error: Option<u16>,
    /// The number of the statement that was prepared, and how many parameters it takes.
    pub(super) prepared: Option<(u32, usize)>,
    pub(super) columns: Vec<MysqlColumn>,
    column_count: u64,
    /// Rows of the binary protocol cannot be read: the server left out their columns, and they are not known.
    blind: bool,
    /// The answer ended, but one packet more may follow if the client is of the old kind.
    pub(super) maybe_eof: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Columns(u64),
    ColumnsEnd,
    Rows,
    Parameters(u64),
    ParametersEnd,
    Prepared(u64),
    PreparedEnd,
}

/// The number, state and message of an error packet.
pub(super) struct Failure {
    pub(super) number: u16,
    pub(super) text: Vec<u8>,
}

// === impl Answer ===

impl Answer {
    /// Begins the answer to what was asked; a statement's columns hold where the server leaves them out.
    pub(super) fn new(asked: Asked, statement: Option<&MysqlStatement>, limit: usize, redact: bool) -> Self {
        let Asked { shape, plan, secrets } = asked;
        let columns = statement.map(|statement| statement.columns.clone()).unwrap_or_default();
        Self {
            shape,
            stage: if shape == Shape::Fetch { Stage::Rows } else { Stage::First },
            redact,
            secrets,
            progress: Progress::new(plan),
            results: 0,
            table: Table::new(limit),
            error: None,
            prepared: None,
            column_count: 0,
            blind: shape == Shape::Fetch && columns.is_empty(),
            columns,
            maybe_eof: false,
        }
    }

    /// Takes an answer back that only began.
    pub(super) fn into_asked(self) -> Asked {
        Asked { shape: self.shape, plan: self.progress.into_plan(), secrets: self.secrets }
    }

    /// Tells whether this answers a request to prepare a statement.
    pub(super) fn is_preparation(&self) -> bool {
        self.shape == Shape::Prepare
    }

    /// Tells whether rows are being read, which can pass unseen.
    pub(super) fn is_in_rows(&self) -> bool {
        self.stage != Stage::First
    }

    /// Packets of the answer pass unseen: what comes behind them are rows, or the end.
    pub(super) fn pass_unseen(&mut self) {
        self.table.cut();
        self.stage = Stage::Rows;
    }

    /// Takes the next packet; nothing when it cannot be part of the answer.
    pub(super) fn take(&mut self, packet: &Packet<'_>, known: &mut Known) -> Option<Piece> {
        if packet.is_cut() {
            self.table.cut();
        }
        match self.stage {
            Stage::First => self.first(packet, known),
            Stage::Columns(left) => {
                self.column(packet, known.agreed);
                let left = left.saturating_sub(1);
                self.stage = if left > 0 { Stage::Columns(left) } else { Stage::ColumnsEnd };
                if left == 0 && known.agreed.deprecate_eof == Some(true) {
                    self.begin_rows();
                }
                Some(Piece::Part)
            }
            Stage::ColumnsEnd => {
                if is_eof(packet) && packet.length == 5 {
                    known.agreed.deprecate_eof = Some(false);
                    self.begin_rows();
                    if eof_status(packet) & CURSOR_EXISTS == 0 {
                        return Some(Piece::Part);
                    }
                    self.ended(true, None, known);
                    return Some(Piece::Last);
                }
                known.agreed.deprecate_eof = Some(true);
                self.begin_rows();
                self.row(packet, known)
            }
            Stage::Rows => self.row(packet, known),
            Stage::Parameters(_) | Stage::ParametersEnd | Stage::Prepared(_) | Stage::PreparedEnd => {
                self.description(packet, &mut known.agreed)
            }
        }
    }

    /// A result ended well.
    fn ended(&mut self, rows: bool, tracked: Option<String>, known: &mut Known) {
        self.results = self.results.saturating_add(1);
        if self.shape != Shape::Prepare {
            self.progress.result(rows, tracked, &mut known.database);
        }
    }

    fn first(&mut self, packet: &Packet<'_>, known: &mut Known) -> Option<Piece> {
        if self.shape == Shape::Line && packet.kind() != Some(0xff) {
            self.table.write(packet.head);
            return Some(Piece::Last);
        }
        match packet.kind()? {
            0xff => self.fail(packet),
            0x00 if self.shape == Shape::Prepare => self.prepare(packet.body(), &mut known.agreed),
            0x00 if packet.length >= OK_BYTES || !self.is_opened_otherwise() => {
                Some(self.ok(packet.body(), known))
            } // More data of the method, the next factor, or another method. Methods of `MariaDB` write what they like.
            _ if self.shape == Shape::Login => Some(Piece::Interim),
            0xfe if self.shape == Shape::Ok => {
                self.table.line(b"OK");
                Some(Piece::Last)
            }
            0xfb if matches!(self.shape, Shape::Text | Shape::Binary) => Some(Piece::File),
            _ if self.shape == Shape::Fields => {
                if is_eof(packet) {
                    self.table.end_rows();
                    return Some(Piece::Last);
                }
                let extended = known.agreed.extended_metadata.or(Some(false));
                self.column(packet, Agreed { extended_metadata: extended, ..known.agreed });
                if let Some(column) = self.columns.pop() {
                    self.table.line(&column.name);
                }
                self.table.count_row();
                Some(Piece::Part)
            }
            _ if matches!(self.shape, Shape::Text | Shape::Binary) => {
                self.begin_columns(packet, &mut known.agreed)
            }
            _ => None,
        }
    }

    /// Tells whether other packets than OK begin with its first byte: a word of the log-in, or the number of columns that
    /// are not described.
    fn is_opened_otherwise(&self) -> bool {
        matches!(self.shape, Shape::Login | Shape::Text | Shape::Binary)
    }

    /// Takes the number of columns that opens a result.
    fn begin_columns(&mut self, packet: &Packet<'_>, agreed: &mut Agreed) -> Option<Piece> {
        let (count, follow) = metadata::column_count(packet, agreed)?;
        self.column_count = count;
        if follow {
            self.columns.clear();
            self.stage = Stage::Columns(count);
        } else {
            self.blind = self.shape == Shape::Binary && self.columns.is_empty();
            self.stage = Stage::ColumnsEnd;
            if agreed.deprecate_eof == Some(true) {
                self.begin_rows();
            }
        }
        Some(Piece::Part)
    }

    fn column(&mut self, packet: &Packet<'_>, agreed: Agreed) {
        if self.columns.len() < MAX_COLUMNS {
            let mut column = MysqlColumn::read(packet.head, agreed.extended_metadata).unwrap_or_default();
            // A column without a name of its own is called by its expression.
            self.secrets.hide(&mut column.name);
            self.columns.push(column);
        }
    }

    fn begin_rows(&mut self) {
        self.stage = Stage::Rows;
        let names = self.columns.iter().map(|column| Some(column.name.as_slice()));
        self.table.cells(names);
    }

    fn row(&mut self, packet: &Packet<'_>, known: &mut Known) -> Option<Piece> {
        match packet.kind() {
            Some(0xff) => return self.fail(packet),
            Some(0xfe) if is_eof(packet) => {
                self.table.end_rows();
                self.stage = Stage::First;
                // An OK packet in EOF's clothes has counts before its status.
                let (status, tracked) = if packet.length == 5 {
                    (eof_status(packet), None)
                } else {
                    self.ok_status(packet.body(), known)
                };
                self.ended(true, tracked, known);
                return Some(if status & MORE_RESULTS != 0 { Piece::Part } else { Piece::Last });
            }
            _ => {}
        }
        if self.table.has_room() {
            let columns = usize::try_from(self.column_count).unwrap_or(usize::MAX);
            if self.blind {
                self.table.cut();
            } else if self.shape == Shape::Text {
                self.table.cells(text_row(packet.head, columns));
            } else {
                let cells = binary_row(packet.head, &self.columns, columns.max(self.columns.len()));
                self.table.cells(cells.iter().map(Option::as_deref));
            }
        }
        self.table.count_row();
        Some(Piece::Part)
    }

    /// Takes the packet that opens the description of a prepared statement.
    fn prepare(&mut self, body: &[u8], agreed: &mut Agreed) -> Option<Piece> {
        let mut cursor = Cursor::new(body);
        let number = cursor.u32_le()?;
        let columns = u64::from(cursor.u16_le()?);
        let parameters = cursor.u16_le()?;
        // A filler, the number of warnings, and whether descriptions follow, where that was agreed on.
        let follow = cursor.bytes(3).and_then(|_| cursor.byte());
        if follow.is_some() && agreed.optional_metadata.is_none() {
            agreed.optional_metadata = Some(true);
        }
        self.prepared = Some((number, usize::from(parameters)));
        self.column_count = columns;
        self.table.line(format!("statement {number}, {parameters} parameters, {columns} columns").as_bytes());
        Some(match (parameters, columns) {
            _ if follow == Some(0) && agreed.optional_metadata == Some(true) => return Some(Piece::Last),
            (0, 0) => return Some(Piece::Last),
            (0, columns) => {
                self.stage = Stage::Prepared(columns);
                Piece::Part
            }
            (parameters, _) => {
                self.stage = Stage::Parameters(u64::from(parameters));
                Piece::Part
            }
        })
    }

    /// Takes a definition or an EOF of a prepared statement's description.
    fn description(&mut self, packet: &Packet<'_>, agreed: &mut Agreed) -> Option<Piece> {
        let eof = is_eof(packet) && packet.length == 5;
        let (left, parameters) = match self.stage {
            Stage::Parameters(left) => (left, true),
            Stage::Prepared(left) => (left, false),
            Stage::ParametersEnd | Stage::PreparedEnd if eof => {
                agreed.deprecate_eof = Some(false);
                if self.stage == Stage::PreparedEnd || self.column_count == 0 {
                    return Some(Piece::Last);
                }
                self.stage = Stage::Prepared(self.column_count);
                return Some(Piece::Part);
            }
            Stage::ParametersEnd => {
                agreed.deprecate_eof = Some(true);
                (self.column_count, false)
            }
            Stage::First | Stage::Columns(_) | Stage::ColumnsEnd | Stage::Rows | Stage::PreparedEnd => {
                return None;
            }
        };
        if !parameters {
            self.column(packet, *agreed);
        }
        let left = left.saturating_sub(1);
        let modern = agreed.deprecate_eof == Some(true);
        self.stage = match (left, parameters) {
            (0, true) if modern && self.column_count > 0 => Stage::Prepared(self.column_count),
            (0, true) => Stage::ParametersEnd,
            (0, false) => Stage::PreparedEnd,
            (left, true) => Stage::Parameters(left),
            (left, false) => Stage::Prepared(left),
        };
        // Whether an EOF follows is not known if the login was not seen: then it ends here and an EOF is passed over.
        let ended =
            self.stage == Stage::PreparedEnd || self.stage == Stage::ParametersEnd && self.column_count == 0;
        self.maybe_eof = ended && agreed.deprecate_eof.is_none();
        Some(if ended && agreed.deprecate_eof != Some(false) { Piece::Last } else { Piece::Part })
    }

    fn ok(&mut self, body: &[u8], known: &mut Known) -> Piece {
        let mut cursor = Cursor::new(body);
        let affected = cursor.lenenc().unwrap_or(0);
        let mut line = "OK".to_owned();
        if affected > 0 {
            let unit = if affected == 1 { "row" } else { "rows" };
            line = format!("OK, {affected} {unit} affected");
        }
        self.table.line(line.as_bytes());
        let (status, tracked) = self.ok_status(body, known);
        self.ended(false, tracked, known);
        if status & MORE_RESULTS != 0 { Piece::Part } else { Piece::Last }
    }

    /// Returns the status flags of an OK packet and the database that it tells, after its text was taken over.
    fn ok_status(&mut self, body: &[u8], known: &mut Known) -> (u16, Option<String>) {
        let mut cursor = Cursor::new(body);
        if cursor.lenenc().is_none() || cursor.lenenc().is_none() {
            return (0, None);
        }
        let status = cursor.u16_le().unwrap_or(0);
        known.plain_backslash = status & NO_BACKSLASH_ESCAPES != 0;
        cursor.u16_le();
        if let Some(text) = cursor.lenenc_bytes().filter(|text| !text.is_empty()) {
            // `MariaDB` proves with it that it knows the password.
            let secret = self.redact && self.shape == Shape::Login;
            self.table.line(if secret { REDACTED.as_bytes() } else { text });
        }
        let mut tracked = None;
        if known.agreed.session_track != Some(false) && status & SESSION_STATE_CHANGED != 0 {
            tracked = tracked_database(cursor.lenenc_bytes().unwrap_or_default());
        }
        (status, tracked)
    }

    fn fail(&mut self, packet: &Packet<'_>) -> Option<Piece> {
        let mut failure = Failure::read(packet)?;
        if failure.number == PROGRESS_ERROR {
            let untouched = self.stage == Stage::First && self.results == 0;
            return Some(if untouched { Piece::Interim } else { Piece::Part });
        }
        self.error = Some(failure.number);
        self.secrets.hide(&mut failure.text);
        self.table.line(&failure.text);
        Some(Piece::Last)
    }
}

// === impl Failure ===

impl Failure {
    /// Reads an error packet.
    pub(super) fn read(packet: &Packet<'_>) -> Option<Self> {
        let mut cursor = Cursor::new(packet.body());
        let number = cursor.u16_le()?;
        let mut text = number.to_string().into_bytes();
        let rest = cursor.rest();
        let (state, message) = match rest.strip_prefix(b"#").and_then(|rest| rest.split_at_checked(5)) {
            Some((state, message)) => (Some(state), message),
            None => (None, rest),
        };
        if let Some(state) = state {
            text.extend_from_slice(b" (");
            text.extend_from_slice(state);
            text.extend_from_slice(b")");
        }
        text.extend_from_slice(b": ");
        text.extend_from_slice(message);
        Some(Self { number, text })
    }
}

fn is_eof(packet: &Packet<'_>) -> bool {
    packet.kind() == Some(0xfe) && !packet.is_continued() && packet.length < 0x00ff_ffff
}

fn eof_status(packet: &Packet<'_>) -> u16 {
    let mut cursor = Cursor::new(packet.body());
    cursor.u16_le().and_then(|_| cursor.u16_le()).unwrap_or(0)
}

/// Finds the new database among session changes.
fn tracked_database(changes: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(changes);
    let mut database = None;
    while let (Some(kind), Some(data)) = (cursor.byte(), cursor.lenenc_bytes()) {
        if kind == 1 {
            let name = Cursor::new(data).lenenc_bytes()?;
            database = Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    database
}
