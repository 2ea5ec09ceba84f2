//! Values of `-o`: of all formats each command has some.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::render::result::Format;

/// Of a stream.
pub(crate) const STREAM: &[Format] = &[Format::Table, Format::Wide, Format::Json];

/// Of a result that is finite.
pub(crate) const FINITE: &[Format] = &[Format::Table, Format::Wide, Format::Json, Format::Yaml];

/// Of rows.
pub(crate) const ROWS: &[Format] = &[Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv];

/// Of what has no columns.
pub(crate) const PLAIN: &[Format] = &[Format::Json, Format::Yaml];

/// Parses those formats that a command has.
pub(crate) fn of(formats: &[Format]) -> impl TypedValueParser<Value = Format> + use<> {
    let known = formats.iter().filter_map(Format::to_possible_value);
    let names: Vec<String> = known.map(|value| value.get_name().to_owned()).collect();
    PossibleValuesParser::new(names).try_map(|name| Format::from_str(&name, false))
}
