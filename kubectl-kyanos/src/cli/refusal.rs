//! A command line that cannot be used, in the words of every other error.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use proto::causes;

use crate::failure::Failure;
use crate::suggestion::WrongWord;

/// The flag that joins a session.
const SESSION_FLAG: &str = "--session";

/// What a command line that is not run ends with.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Help or version was asked for.
    Shown(String),
    /// It makes no sense.
    Refused(Failure),
}

/// Turns the parser's answer to `command` into ours.
pub(crate) fn outcome(error: &clap::Error, command: &str) -> Outcome {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_help {
        Outcome::Shown(error.render().to_string())
    } else {
        Outcome::Refused(refusal(error, command))
    }
}

fn refusal(error: &clap::Error, command: &str) -> Failure {
    let text = error.render().to_string();
    let what = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .filter(|line| !line.starts_with('['))
        .collect::<Vec<_>>()
        .join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what).trim_end_matches('.').replace('\'', "`");
    let word = causes::find::<WrongWord>(error);
    if let Some(word) = word {
        // The parser puts the one behind the other.
        let said = format!(": {word}").trim_end_matches('.').replace('\'', "`");
        let what = what.strip_suffix(&said).unwrap_or(&what);
        return Failure::usage(what).hint(word.to_string());
    }
    if error.kind() == ErrorKind::ArgumentConflict && joins(error) {
        return Failure::usage(what)
            .hint("give it to the command that starts the session; a viewer joins it as it is");
    }
    Failure::usage(what).hint(suggestion(error).unwrap_or_else(|| format!("run `{command} --help`")))
}

/// Whether one of the flags that cannot be used together is the one that joins a session.
fn joins(error: &clap::Error) -> bool {
    let flags = [ContextKind::InvalidArg, ContextKind::PriorArg].into_iter();
    let flags = flags.filter_map(|kind| error.get(kind)).flat_map(words);
    // A flag is named with its value: `--session <NAME>`.
    flags.into_iter().any(|flag| flag.split(' ').next() == Some(SESSION_FLAG))
}

fn words(value: &ContextValue) -> Vec<&str> {
    if let ContextValue::String(word) = value {
        return vec![word];
    }
    if let ContextValue::Strings(words) = value {
        return words.iter().map(String::as_str).collect();
    }
    Vec::new()
}

/// Says which known word was probably meant, else which words there are.
fn suggestion(error: &clap::Error) -> Option<String> {
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    for kind in suggested {
        if let Some(word) = error.get(kind).map(words).unwrap_or_default().first() {
            return Some(format!("did you mean `{word}`?"));
        }
    }
    if let Some(ContextValue::Strings(words)) = error.get(ContextKind::ValidValue)
        && !words.is_empty()
    {
        return Some(format!("one of {}", words.join(", ")));
    }
    None
}
