//! Ready-made questions, which both engines understand.

use std::path::Path;

use crate::failure::Failure;
use crate::suggestion::suggest;

/// Names and statements.
pub(crate) const REPORTS: [(&str, &str); 6] = [
    ("slow", include_str!("reports/slow.sql")),
    ("errors", include_str!("reports/errors.sql")),
    ("top", include_str!("reports/top.sql")),
    ("services", include_str!("reports/services.sql")),
    ("loss", include_str!("reports/loss.sql")),
    ("where", include_str!("reports/where.sql")),
];

/// Returns the statement of a report by its name, or of the user's own file.
pub(crate) fn statement(report: &str) -> Result<String, Failure> {
    if let Some((_, sql)) = REPORTS.iter().find(|(name, _)| *name == report) {
        return Ok((*sql).to_owned());
    }
    let is_file =
        Path::new(report).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
    if is_file {
        return std::fs::read_to_string(report).map_err(|error| Failure::io("reading", report, &error));
    }
    let names = REPORTS.map(|(name, _)| name);
    let otherwise = format!("one of {}, or a file that ends in .sql", names.join(", "));
    Err(Failure::usage(format!("unknown report `{report}`"))
        .hint(suggest(report, &names, &otherwise).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_report_is_a_usage_error_with_a_suggestion() {
        assert!(statement("slow").is_ok());
        let failure = statement("slo").expect_err("unknown");
        assert_eq!(
            (failure.exit, failure.hint.as_deref()),
            (crate::failure::USAGE, Some("did you mean `slow`?"))
        );
        assert_eq!(statement("/no/such.sql").expect_err("missing").exit, crate::failure::FAILED);
    }
}
