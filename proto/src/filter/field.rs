//! Fields of protocols.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::{FilterError, Test, among, asked};
use crate::v1;

/// Bytes a compiled regular expression may take; what is larger is refused instead of slowing every exchange.
pub const MAX_REGEX_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Fields(Vec<Field>);

#[derive(Debug)]
struct Field {
    name: String,
    protocols: Vec<String>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Exact(Vec<String>),
    Caseless(Vec<String>),
    Prefix(Vec<String>),
    Regex(Vec<Regex>),
}

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let mut fields = filter.fields.iter().map(Field::parse).collect::<Result<Vec<_>, _>>()?;
    fields.retain(|field| !field.values.is_empty());
    let asks = !fields.is_empty();
    Ok(asked(Fields(fields), asks))
}

impl Test for Fields {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.0.iter().all(|field| field.passes(exchange))
    }

    fn wants_protocol(&self, protocol: &str) -> bool {
        self.0.iter().all(|field| among(&field.protocols, protocol))
    }
}

// === impl Field ===

impl Field {
    fn parse(test: &v1::FieldTest) -> Result<Self, FilterError> {
        let v1::FieldTest { field, comparison, values, protocols } = test;
        let comparison = v1::Comparison::try_from(*comparison)
            .map_err(|error| FilterError::new(field, comparison, format!("unknown comparison ({error})")))?;
        let values = match comparison {
            v1::Comparison::Exact => Values::Exact(values.clone()),
            v1::Comparison::Caseless => Values::Caseless(values.clone()),
            v1::Comparison::Prefix => Values::Prefix(values.clone()),
            v1::Comparison::Regex => {
                Values::Regex(values.iter().map(|value| regex(field, value)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { name: field.clone(), protocols: protocols.clone(), values })
    }

    fn passes(&self, exchange: &v1::Exchange) -> bool {
        let values = exchange.attributes.iter().filter(|attribute| attribute.name == self.name);
        among(&self.protocols, &exchange.protocol)
            && values.map(|attribute| &attribute.value).any(|value| self.values.pass(value))
    }
}

// === impl Values ===

impl Values {
    fn is_empty(&self) -> bool {
        match self {
            Self::Exact(values) | Self::Caseless(values) | Self::Prefix(values) => values.is_empty(),
            Self::Regex(values) => values.is_empty(),
        }
    }

    fn pass(&self, found: &str) -> bool {
        match self {
            Self::Exact(values) => values.iter().any(|value| value == found),
            Self::Caseless(values) => values.iter().any(|value| value.eq_ignore_ascii_case(found)),
            Self::Prefix(values) => values.iter().any(|value| found.starts_with(value.as_str())),
            Self::Regex(values) => values.iter().any(|value| value.is_match(found)),
        }
    }
}

fn regex(field: &str, pattern: &str) -> Result<Regex, FilterError> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build().map_err(|error| {
        // The crate draws a picture over several lines; its last line says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        FilterError::new(field, pattern, reason)
    })
}
