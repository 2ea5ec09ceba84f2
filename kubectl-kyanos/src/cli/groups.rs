//! What `--group-by` takes: what every exchange has, and the fields of every protocol in the registry.

use proto::v1::{CommonField, Grouping};

use crate::suggestion::{WrongWord, suggest};

/// Levels of grouping.
const MAX_LEVELS: usize = 3;

/// Groups by nothing.
const NO_GROUPS: &str = "none";

/// What exchanges of every protocol have.
const COMMON_FIELDS: [(&str, CommonField); 17] = [
    ("conn", CommonField::Connection),
    ("remote-ip", CommonField::RemoteIp),
    ("remote-port", CommonField::RemotePort),
    ("local-port", CommonField::LocalPort),
    ("protocol", CommonField::Protocol),
    ("pod", CommonField::Pod),
    ("workload", CommonField::Workload),
    ("namespace", CommonField::Namespace),
    ("node", CommonField::Node),
    ("remote-service", CommonField::RemoteService),
    ("remote-pod", CommonField::RemotePod),
    ("remote-workload", CommonField::RemoteWorkload),
    ("remote-namespace", CommonField::RemoteNamespace),
    ("remote-node", CommonField::RemoteNode),
    ("source", CommonField::Source),
    ("destination", CommonField::Destination),
    ("status", CommonField::Status),
];

/// Up to three fields to group by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Groups(Vec<(String, Grouping)>);

// === impl Groups ===

impl Groups {
    /// Names of the fields.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The fields as the hub takes them.
    pub(crate) fn fields(&self) -> Vec<Grouping> {
        self.0.iter().map(|(_, field)| field.clone()).collect()
    }
}

/// Reads one to three grouping fields, `a`, `a/b` or `a/b/c`.
pub(crate) fn groups(text: &str) -> Result<Groups, WrongWord> {
    let known = all();
    let words: Vec<&str> = text.split('/').collect();
    if words.len() > MAX_LEVELS {
        return Err(WrongWord::Expected("at most three levels, as a/b/c".to_owned()));
    }
    let mut fields = Vec::new();
    for word in words.into_iter().filter(|word| *word != NO_GROUPS) {
        let found = known.iter().find(|(name, _)| name == word).ok_or_else(|| unknown(word))?;
        fields.push(found.clone());
    }
    Ok(Groups(fields))
}

fn unknown(word: &str) -> WrongWord {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    suggest(word, &names, &format!("one of {}", names.join(", ")))
}

/// Returns all names that `--group-by` takes.
pub(crate) fn names() -> Vec<String> {
    all().into_iter().map(|(name, _)| name).chain([NO_GROUPS.to_owned()]).collect()
}

/// Returns the help of `--group-by`.
pub(crate) fn help() -> String {
    format!("Group by one to three (a/b/c) of {}", names().join(", "))
}

fn all() -> Vec<(String, Grouping)> {
    let common = COMMON_FIELDS.map(|(name, field)| (name.to_owned(), Grouping::common(field)));
    let mut all = common.to_vec();
    for protocol in decoders::registry() {
        for field in protocol.fields {
            let name = format!("{}-{}", protocol.name, field.name);
            // Several flags may test one field.
            if all.iter().all(|(known, _)| *known != name) {
                all.push((name, Grouping::own(protocol.name, field.name)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_and_protocols_fields_are_read() {
        let read = |text: &str| groups(text).map(|groups| (groups.names(), groups.fields()));
        let common = Grouping::common;
        for (text, fields) in [
            ("node", vec![common(CommonField::Node)]),
            ("remote-service/status", vec![common(CommonField::RemoteService), common(CommonField::Status)]),
            ("http-path/protocol", vec![Grouping::own("http", "path"), common(CommonField::Protocol)]),
            ("redis-command", vec![Grouping::own("redis", "command")]),
            ("dns-type", vec![Grouping::own("dns", "type")]),
            (
                "source/destination/protocol",
                vec![
                    common(CommonField::Source),
                    common(CommonField::Destination),
                    common(CommonField::Protocol),
                ],
            ),
        ] {
            let names = text.split('/').map(str::to_owned).collect();
            assert_eq!(read(text), Ok((names, fields)), "{text}");
        }
        assert_eq!(read("none"), Ok((Vec::new(), Vec::new())));
        assert!(read("none/none/none/none").is_err() && read("").is_err());
        assert_eq!(read("http-pat"), Err(WrongWord::Meant("http-path".to_owned())));
        let unknown = read("shoe-size").map_err(|said| said.to_string());
        assert!(unknown.is_err_and(|said| said.contains("mysql-statement")));
    }

    #[test]
    fn every_field_of_the_registry_has_one_name() {
        let names = names();
        for protocol in decoders::registry() {
            for field in protocol.fields {
                let name = format!("{}-{}", protocol.name, field.name);
                assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}");
            }
        }
        for number in (1..100).filter(|number| CommonField::try_from(*number).is_ok()) {
            assert!(
                COMMON_FIELDS.iter().any(|(_, field)| i32::from(*field) == number),
                "{number} has no name"
            );
        }
    }
}
