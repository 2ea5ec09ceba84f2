//! Words without a flag: a protocol and workloads, in any order.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command};
use proto::filter::{Workload, WorkloadKind};

use crate::failure::Failure;
use crate::protocols;
use crate::suggestion::{WrongWord, nearest};

/// A word without a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A protocol of the registry.
    Protocol(String),
    /// `KIND/NAME`.
    Workload(String),
}

/// What a command is about.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TargetArgs {
    /// Protocol to show, all by default; and workloads whose pods are meant, as --workload takes them
    #[arg(value_name = "PROTOCOL|KIND/NAME", value_parser = SubjectParser)]
    words: Vec<Subject>,
}

/// Reads a [`Subject`].
#[derive(Clone, Debug)]
struct SubjectParser;

// === impl TargetArgs ===

impl TargetArgs {
    /// Takes the protocol, and adds the workloads to those of the flag.
    pub(super) fn sort(&mut self, workloads: &mut Vec<String>) -> Result<Option<String>, Failure> {
        let mut protocol: Option<String> = None;
        for word in std::mem::take(&mut self.words) {
            match (word, &protocol) {
                (Subject::Workload(workload), _) => workloads.push(workload),
                (Subject::Protocol(given), None) => protocol = Some(given),
                (Subject::Protocol(given), Some(first)) => {
                    return Err(Failure::usage(format!("`{first}` and `{given}` are two protocols"))
                        .hint("name one, or none for all"));
                }
            }
        }
        Ok(protocol)
    }
}

// === impl SubjectParser ===

impl TypedValueParser for SubjectParser {
    type Value = Subject;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        (read as fn(&str) -> Result<Subject, WrongWord>).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(protocols::names().map(PossibleValue::new)))
    }
}

fn read(word: &str) -> Result<Subject, WrongWord> {
    if word.contains('/') {
        return match Workload::parse(word) {
            Ok(_) => Ok(Subject::Workload(word.to_owned())),
            Err(error) => Err(WrongWord::Expected(error.reason)),
        };
    }
    let known: Vec<&str> = protocols::names().collect();
    if known.contains(&word) {
        return Ok(Subject::Protocol(word.to_owned()));
    }
    // Before protocols that are spelled like it: `po` and `ds` are no slips of the pen.
    if WorkloadKind::named(word).is_some() {
        return Err(WrongWord::Expected(format!("write kind and name as one word: `{word}/NAME`")));
    }
    Err(match nearest(word, &known) {
        Some(protocol) => WrongWord::Meant(protocol.to_owned()),
        None => WrongWord::Expected(format!(
            "one of {}; a workload is written as `deploy/{word}`, `sts/{word}` or `po/{word}`",
            known.join(", ")
        )),
    })
}
