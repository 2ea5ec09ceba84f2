//! The decoders' registry as flags: what `watch --list` shows and what each protocol's filters are.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches};
use proto::v1;

use crate::failure::Failure;
use crate::suggestion::nearest;

/// One flag with every protocol that has it.
struct Flag {
    field: &'static str,
    comparison: v1::Comparison,
    help: &'static str,
    protocols: Vec<&'static str>,
}

/// Names of all protocols.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    decoders::registry().iter().map(|protocol| protocol.name)
}

/// Returns the flags of all protocols.
pub(crate) fn args() -> Vec<Arg> {
    flags()
        .into_iter()
        .map(|(name, flag)| {
            let help = format!("{} ({})", flag.help, flag.protocols.join(", "));
            // A regular expression may hold commas.
            let delimiter = (flag.comparison != v1::Comparison::Regex).then_some(',');
            let arg = Arg::new(format!("field-{name}")).long(name).help(help).action(ArgAction::Append);
            arg.value_name(if delimiter.is_some() { "LIST" } else { "REGEX" })
                .value_delimiter(delimiter)
                .help_heading("Protocol")
        })
        .collect()
}

/// Builds the tests that the protocols' flags ask for.
pub(crate) fn tests(protocol: Option<&str>, matches: &ArgMatches) -> Result<Vec<v1::FieldTest>, Failure> {
    let mut tests = Vec::new();
    for (name, flag) in flags() {
        let id = format!("field-{name}");
        let Ok(Some(values)) = matches.try_get_many::<String>(&id) else { continue };
        let protocols: Vec<String> = flag
            .protocols
            .iter()
            .filter(|known| protocol.is_none_or(|wanted| wanted == **known))
            .map(|known| (*known).to_owned())
            .collect();
        if protocols.is_empty() {
            let protocol = protocol.unwrap_or_default();
            return Err(Failure::usage(format!("`--{name}` does not test {protocol}"))
                .hint(own_flags(protocol, name)));
        }
        tests.push(v1::FieldTest {
            field: flag.field.to_owned(),
            comparison: flag.comparison.into(),
            values: values.cloned().collect(),
            protocols,
        });
    }
    Ok(tests)
}

/// Lists protocols with their ports and filters, one line each.
pub(crate) fn list() -> Vec<[String; 4]> {
    decoders::registry()
        .iter()
        .map(|protocol| {
            let ports: Vec<String> = protocol.ports.iter().map(ToString::to_string).collect();
            let flags: Vec<String> =
                protocol.fields.iter().map(|field| format!("--{}", field.flag)).collect();
            [protocol.name.to_owned(), protocol.title.to_owned(), ports.join(","), flags.join(" ")]
        })
        .collect()
}

fn own_flags(protocol: &str, given: &str) -> String {
    let own: Vec<&str> = decoders::registry()
        .iter()
        .filter(|known| known.name == protocol)
        .flat_map(|known| known.fields.iter().map(|field| field.flag))
        .collect();
    match nearest(given, &own) {
        Some(flag) => format!("did you mean `--{flag}`?"),
        None if own.is_empty() => format!("{protocol} has no filters of its own"),
        None => format!(
            "{protocol} has {}",
            own.iter().map(|flag| format!("--{flag}")).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn flags() -> BTreeMap<&'static str, Flag> {
    let mut flags = BTreeMap::new();
    for protocol in decoders::registry() {
        for field in protocol.fields {
            let flag = flags.entry(field.flag).or_insert_with(|| Flag {
                field: field.name,
                comparison: comparison(field.comparison),
                help: field.help,
                protocols: Vec::new(),
            });
            flag.protocols.push(protocol.name);
        }
    }
    flags
}

fn comparison(comparison: decoders::Comparison) -> v1::Comparison {
    match comparison {
        decoders::Comparison::Exact => v1::Comparison::Exact,
        decoders::Comparison::Caseless => v1::Comparison::Caseless,
        decoders::Comparison::Prefix => v1::Comparison::Prefix,
        decoders::Comparison::Regex => v1::Comparison::Regex,
    }
}
