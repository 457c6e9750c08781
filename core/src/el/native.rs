//! Values that only methods can make: types, dates, formatters, coders.

use std::cmp::Ordering;

use super::temporal::{self, DateTime};

/// A value that only methods can make.
#[derive(Debug, Clone, PartialEq)]
pub enum Native {
    /// `T(…)`: the full name of a type.
    Type(&'static str),
    /// A constant of an enumeration, such as a day of the week.
    Constant(&'static str),
    /// A point in time, Unix milliseconds.
    Date(i64),
    /// A date without time: days since 1970-01-01.
    LocalDate(i64),
    /// A date with a time, without zone.
    LocalDateTime(DateTime),
    /// A date with a time, in UTC.
    ZonedDateTime(DateTime),
    /// The pattern of a date formatter.
    Formatter(Box<str>),
    /// The pattern of a formatter of points in time.
    SimpleDateFormat(Box<str>),
    /// The pattern of a number formatter.
    DecimalFormat(Box<str>),
    /// A random identifier.
    Uuid(u128),
    /// Writes Base64.
    Encoder {
        /// With the alphabet for URLs.
        url: bool,
        /// With `=` at the end.
        padded: bool,
    },
    /// Reads Base64.
    Decoder {
        /// With the alphabet for URLs.
        url: bool,
    },
}

impl Native {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Type(_) => "a type",
            Self::Constant(_) => "a constant",
            Self::Date(_) => "a date",
            Self::LocalDate(_) => "a local date",
            Self::LocalDateTime(_) => "a local date and time",
            Self::ZonedDateTime(_) => "a date and time",
            Self::Formatter(_) | Self::SimpleDateFormat(_) | Self::DecimalFormat(_) => {
                "a formatter"
            }
            Self::Uuid(_) => "an identifier",
            Self::Encoder { .. } | Self::Decoder { .. } => "a coder",
        }
    }

    /// The text that a result is converted to; `None` when there is no conversion.
    pub(super) fn converted_text(&self) -> Option<String> {
        match self {
            Self::Date(_) | Self::Uuid(_) | Self::Constant(_) => Some(self.text()),
            _ => None,
        }
    }

    /// The text of `toString()`.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Type(name) => format!("class {name}"),
            Self::Constant(name) => (*name).to_owned(),
            Self::Date(ms) => temporal::format_fields(
                "EEE MMM dd HH:mm:ss z yyyy",
                &temporal::Fields::of_ms(*ms),
                true,
            )
            .unwrap_or_default(),
            Self::LocalDate(days) => temporal::date_text(*days),
            Self::LocalDateTime(at) => at.text(),
            Self::ZonedDateTime(at) => format!("{}Z", at.text()),
            Self::Formatter(pattern)
            | Self::SimpleDateFormat(pattern)
            | Self::DecimalFormat(pattern) => pattern.to_string(),
            Self::Uuid(bits) => {
                let hex = format!("{bits:032x}");
                format!(
                    "{}-{}-{}-{}-{}",
                    &hex[..8],
                    &hex[8..12],
                    &hex[12..16],
                    &hex[16..20],
                    &hex[20..]
                )
            }
            Self::Encoder { .. } => "encoder".to_owned(),
            Self::Decoder { .. } => "decoder".to_owned(),
        }
    }

    /// Order of two of a kind; `None` when they have none.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Date(left), Self::Date(right))
            | (Self::LocalDate(left), Self::LocalDate(right)) => Some(left.cmp(right)),
            (Self::LocalDateTime(left), Self::LocalDateTime(right))
            | (Self::ZonedDateTime(left), Self::ZonedDateTime(right)) => Some(left.cmp(right)),
            (Self::Uuid(left), Self::Uuid(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }
}
