//! A command line that cannot be used, in the words of every other error.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

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
    if let Some((what, meant)) = what.rsplit_once(": did you mean ") {
        return Failure::usage(what).hint(format!("did you mean {meant}"));
    }
    if error.kind() == ErrorKind::ArgumentConflict && what.contains("`--session ") {
        return Failure::usage(what)
            .hint("give it to the command that starts the session; a viewer joins it as it is");
    }
    Failure::usage(what).hint(suggestion(error).unwrap_or_else(|| format!("run `{command} --help`")))
}

/// Says which known word was probably meant, else which words there are.
fn suggestion(error: &clap::Error) -> Option<String> {
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    for kind in suggested {
        if let Some(word) = error.get(kind).and_then(first) {
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

fn first(value: &ContextValue) -> Option<String> {
    if let ContextValue::String(word) = value {
        return Some(word.clone());
    }
    if let ContextValue::Strings(words) = value { words.first().cloned() } else { None }
}
