//! tshark, as a reader that we did not write.

mod http;
mod mysql;
mod postgres;
mod row;

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use decoders::{Side, Transport};

use super::spoken::{ANY_LABEL, Said, Spoken, plain};
use super::streams::Streams;
use crate::run;
use row::WitnessRow;

/// Between several values of one field; no field that is asked for holds it.
const VALUE_SEPARATOR: char = '\u{1f}';

/// What tshark names, by field; [`WitnessRow`] reads them by name.
const FIELDS: [&str; 37] = [
    "frame.number",
    "frame.protocols",
    "_ws.malformed",
    "http.request.method",
    "http.request.uri",
    "http.request.version",
    "http.request.line",
    "http.response.code",
    "http.content_length_header",
    "http.chunk_size",
    "resp.array.length",
    "resp.bulk_string.length",
    "resp.bulk_string.value",
    "resp.error",
    "mysql.packet_length",
    "mysql.command",
    "mysql.query",
    "mysql.login_request",
    "mysql.error_code",
    "mysql.stmt_id",
    "mysql.num_params",
    "mysql.response_code",
    "pgsql.frontend",
    "pgsql.type",
    "pgsql.length",
    "pgsql.query",
    "pgsql.statement",
    "pgsql.portal",
    "pgsql.severity",
    "pgsql.code",
    "dns.flags.response",
    "dns.flags.opcode",
    "dns.qry.name",
    "dns.qry.type",
    "dns.flags.rcode",
    "dns.length",
    "udp.length",
];

/// Packets that hold what we decode too. Protocols that only borrow the form of DNS or HTTP are others.
const FILTER: &str = "http || resp || mysql || pgsql || dns";

/// Names of tshark's dissectors, and ours.
const PROTOCOLS: [(&str, &str); 5] =
    [("http", "http"), ("resp", "redis"), ("mysql", "mysql"), ("pgsql", "postgres"), ("dns", "dns")];

/// Dissectors above or below which the same fields mean something else: quoted packets, encrypted ones that were
/// decrypted by a key that only the capture has, and tunnels.
const NESTING_DISSECTORS: [&str; 8] = ["icmp", "icmpv6", "tls", "quic", "http2", "ssdp", "dtls", "mdns"];

/// Has tshark read captures.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness {
    /// Ports and the protocol spoken there, by our names.
    pub(super) hints: Vec<(u16, String)>,
    /// Where its answers are kept for the next run.
    pub(super) cache: Option<PathBuf>,
}

/// What is remembered of a stream from packet to packet.
#[derive(Debug, Default)]
struct Memory {
    mysql: mysql::MysqlMemory,
    postgres: postgres::PostgresMemory,
}

// === impl Witness ===

impl Witness {
    /// Reads a capture, and returns by stream what was said.
    pub(super) fn read(&self, path: &Path, streams: &Streams) -> Result<HashMap<usize, Spoken>> {
        let text = self.text(path)?;
        let mut said: HashMap<usize, Spoken> = HashMap::new();
        let mut memory: HashMap<usize, Memory> = HashMap::new();
        for line in text.lines() {
            let row = WitnessRow::new(line);
            let Some((index, from)) = row.frame().and_then(|frame| streams.by_frame.get(&frame)) else {
                continue;
            };
            let Some(stream) = streams.all.get(*index) else { continue };
            let Some(protocol) = row.protocol(stream.transport) else { continue };
            let spoken = said.entry(*index).or_default();
            if protocol == "redis" && stream.speaks_lines() {
                // Inline commands, which it does not read.
                spoken.conversation(protocol).vague = true;
            }
            take(&row, protocol, *from, spoken, memory.entry(*index).or_default());
        }
        Ok(said)
    }

    /// Asks again about streams where only we found a protocol, with a hint for their ports: what tshark then reads
    /// without a complaint is there.
    pub(super) fn reconsider(
        &self,
        path: &Path,
        streams: &Streams,
        ours: &[Spoken],
        said: &mut HashMap<usize, Spoken>,
    ) -> Result<()> {
        let mut hints = self.hints.clone();
        let mut doubtful = Vec::new();
        for (index, (stream, spoken)) in streams.all.iter().zip(ours).enumerate() {
            let known = |protocol: &String| {
                said.get(&index).is_some_and(|said| said.conversations.contains_key(protocol))
            };
            let unknown = spoken.conversations.keys().find(|protocol| !known(protocol));
            let Some(protocol) = unknown.filter(|_| stream.transport == Transport::Tcp) else { continue };
            let hint = (stream.server.port(), protocol.clone());
            if !hints.iter().any(|(port, _)| *port == hint.0) {
                hints.push(hint);
            }
            doubtful.push((index, protocol.clone()));
        }
        if doubtful.is_empty() {
            return Ok(());
        }
        let again = Self { hints, cache: self.cache.clone() }.read(path, streams)?;
        for (index, protocol) in doubtful {
            let found = again.get(&index).filter(|spoken| {
                spoken.conversations.get(&protocol).is_some_and(|conversation| {
                    !conversation.requests.is_empty() && conversation.malformed == 0
                })
            });
            if let Some(found) = found {
                said.insert(index, found.clone());
            }
        }
        Ok(())
    }

    fn text(&self, path: &Path) -> Result<String> {
        let kept = self.cache.as_ref().map(|folder| folder.join(self.key(path)));
        if let Some(text) = kept.as_ref().and_then(|kept| fs::read_to_string(kept).ok()) {
            return Ok(text);
        }
        let text = self.ask(path)?;
        if let (Some(kept), Some(folder)) = (kept, &self.cache) {
            fs::create_dir_all(folder).context("making the folder of answers")?;
            fs::write(&kept, &text).with_context(|| format!("writing `{}`", kept.display()))?;
        }
        Ok(text)
    }

    /// Names the answer for a capture: the same file asked about in the same way.
    fn key(&self, path: &Path) -> String {
        let mut hasher = DefaultHasher::new();
        (path, fs::metadata(path).map(|data| data.len()).ok(), &self.hints, FIELDS, FILTER).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    fn ask(&self, path: &Path) -> Result<String> {
        let Some(tshark) = run::find("tshark") else {
            bail!("`tshark` is not installed; run `cargo xtask setup --for replay`");
        };
        let mut command = Command::new(tshark);
        command.args(["-n", "-Y", FILTER, "-o", "tcp.reassemble_out_of_order:TRUE"]);
        command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]);
        command.args(["-E", &format!("aggregator={VALUE_SEPARATOR}")]);
        for field in FIELDS {
            command.args(["-e", field]);
        }
        for (port, protocol) in &self.hints {
            let name = PROTOCOLS.iter().find(|(_, ours)| ours == protocol).map(|(theirs, _)| theirs);
            let Some(name) = name else { bail!("`{protocol}` is none of the protocols that are decoded") };
            command.args(["-d", &format!("tcp.port=={port},{name}")]);
            if *name == "dns" {
                command.args(["-d", &format!("udp.port=={port},{name}")]);
            }
        }
        let output = command.arg("-r").arg(path).output().context("running tshark")?;
        // It fails where the file ends within a packet, after all that came before.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() && !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            eprintln!("warning: tshark cannot read `{}`: {last}", path.display());
        }
        Ok(text)
    }
}

// === free functions ===

fn take(row: &WitnessRow<'_>, protocol: &str, from: Side, spoken: &mut Spoken, memory: &mut Memory) {
    let conversation = spoken.conversation(protocol);
    let (requests, responses) = (conversation.requests.len(), conversation.responses.len());
    if row.is_malformed() {
        conversation.malformed += 1;
    }
    match (protocol, from) {
        ("http", _) => http::take(row, conversation),
        ("redis", Side::Client) => redis_commands(row, &mut conversation.requests),
        ("redis", Side::Server) => {
            let errors = row.list("resp.error").map(|text| {
                let word = text.split(' ').next().unwrap_or_default();
                Said::new(plain(word), word.to_owned(), None)
            });
            conversation.responses.extend(errors);
        }
        ("mysql", _) => memory.mysql.take(row, from, conversation),
        ("postgres", _) => memory.postgres.take(row, conversation),
        _ => dns(row, conversation),
    }
    let frame = row.frame();
    conversation.requests.iter_mut().skip(requests).for_each(|said| said.frame = frame);
    conversation.responses.iter_mut().skip(responses).for_each(|said| said.frame = frame);
}

/// Commands are arrays of strings, and nothing is nested.
fn redis_commands(row: &WitnessRow<'_>, requests: &mut Vec<Said>) {
    let mut lengths = row.list("resp.bulk_string.length");
    let mut values = row.list("resp.bulk_string.value");
    for array in row.list("resp.array.length") {
        let count: usize = array.parse().unwrap_or_default();
        let mut bytes = Some(digits(array) + 3);
        let mut words = Vec::new();
        for _ in 0..count {
            let length =
                lengths.next().and_then(|length| Some((digits(length), length.parse::<u64>().ok()?)));
            bytes = bytes.and_then(|bytes| length.map(|(digits, length)| bytes + digits + length + 5));
            // An empty string has no value.
            let empty = length.is_some_and(|(_, length)| length == 0);
            words.push(if empty { String::new() } else { unhexed(values.next().unwrap_or_default()) });
        }
        let Some(first) = words.first() else { continue };
        requests.push(Said::new(super::spoken::verb(first), words.join(" "), bytes));
    }
}

fn dns(row: &WitnessRow<'_>, conversation: &mut super::spoken::Conversation) {
    let responses: Vec<&str> = row.list("dns.flags.response").collect();
    let several = |field: &str| {
        let values: Vec<&str> = row.list(field).collect();
        // Some messages of several have no question: then it is not known whose the others are.
        if values.len() == responses.len() { values } else { Vec::new() }
    };
    let (names, kinds) = (several("dns.qry.name"), several("dns.qry.type"));
    let (lengths, opcodes) = (several("dns.length"), several("dns.flags.opcode"));
    let mut codes = row.list("dns.flags.rcode");
    for (index, response) in responses.iter().enumerate() {
        let stream =
            lengths.get(index).and_then(|length| length.parse::<u64>().ok()).map(|length| length + 2);
        let datagram = row.last("udp.length").and_then(|length| length.parse::<u64>().ok());
        let bytes = stream.or(datagram.map(|length| length.saturating_sub(8)));
        if matches!(*response, "1" | "True") {
            let code: usize = codes.next().and_then(|code| code.parse().ok()).unwrap_or_default();
            let status = RCODES.get(code).copied().unwrap_or(ANY_LABEL);
            let label = if status == ANY_LABEL { ANY_LABEL.to_owned() } else { plain(status) };
            conversation.responses.push(Said::new(label, status.to_owned(), bytes));
            continue;
        }
        let plainly = opcodes.get(index).is_none_or(|opcode| *opcode == "0");
        let question = names.get(index).zip(kinds.get(index)).filter(|_| plainly);
        let (label, shown) = question.map_or_else(
            || (ANY_LABEL.to_owned(), "message without one question".to_owned()),
            |(name, kind)| {
                let (kind, root) = (kind_name(kind), if *name == "<Root>" { "" } else { name });
                (format!("{} {}", plain(&kind), plain(root)), format!("{kind} {name}"))
            },
        );
        conversation.requests.push(Said::new(label, shown, bytes));
    }
}

/// Response codes of DNS by number.
const RCODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE",
];

/// Names a record type by its number; only those that captures are likely to hold.
fn kind_name(number: &str) -> String {
    let known = [
        ("1", "A"),
        ("2", "NS"),
        ("5", "CNAME"),
        ("6", "SOA"),
        ("10", "NULL"),
        ("29", "LOC"),
        ("41", "OPT"),
        ("44", "SSHFP"),
        ("51", "NSEC3PARAM"),
        ("12", "PTR"),
        ("13", "HINFO"),
        ("15", "MX"),
        ("16", "TXT"),
        ("28", "AAAA"),
        ("33", "SRV"),
        ("35", "NAPTR"),
        ("39", "DNAME"),
        ("43", "DS"),
        ("46", "RRSIG"),
        ("47", "NSEC"),
        ("48", "DNSKEY"),
        ("52", "TLSA"),
        ("64", "SVCB"),
        ("65", "HTTPS"),
        ("99", "SPF"),
        ("249", "TKEY"),
        ("250", "TSIG"),
        ("251", "IXFR"),
        ("252", "AXFR"),
        ("255", "ANY"),
        ("257", "CAA"),
    ];
    let found = known.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
    found.unwrap_or_else(|| format!("TYPE{number}"))
}

fn digits(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or_default()
}

/// Undoes tshark's hexadecimal form of bytes.
fn unhexed(text: &str) -> String {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    let bytes = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

impl WitnessRow<'_> {
    /// Returns our name of the protocol that a packet speaks, where it is one of ours and speaks for itself.
    fn protocol(&self, transport: Transport) -> Option<&'static str> {
        let layers: Vec<&str> = self.first("frame.protocols")?.split(':').collect();
        if layers.iter().any(|layer| NESTING_DISSECTORS.contains(layer)) {
            return None;
        }
        let carrier = if transport == Transport::Tcp { "tcp" } else { "udp" };
        let at = layers.iter().position(|layer| *layer == carrier)?;
        let above = layers.get(at + 1..)?;
        // What is first above the transport is the stream's protocol.
        let (_, ours) = PROTOCOLS.iter().find(|(theirs, _)| above.first() == Some(theirs))?;
        (transport == Transport::Tcp || *ours == "dns").then_some(*ours)
    }
}
