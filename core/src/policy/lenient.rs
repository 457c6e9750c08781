//! Configuration members that the reference's JSON mapper reads leniently: a number written as text, a text written as a number.
//!
//! For serde's `deserialize_with`; each needs `#[serde(default)]` beside it when the member may be absent.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{self, Visitor};

struct Number<T>(PhantomData<T>);

impl<T: FromStr> Number<T> {
    fn read<E: de::Error>(text: &str) -> Result<Option<T>, E> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        // The reference cuts the fraction off when an integer is asked for.
        text.parse()
            .or_else(|error| match text.split_once('.') {
                Some((whole, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => {
                    whole.parse()
                }
                _ => Err(error),
            })
            .map(Some)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &"a number in range"))
    }
}

impl<T: FromStr> Visitor<'_> for Number<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number in range, or text that holds one")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Self::read(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Self::read(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Self::read(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Self::read(text)
    }
}

/// A number, also written as text; null and empty text are the type's default (0).
pub(crate) fn de_number<'de, D: Deserializer<'de>, T: FromStr + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    de_optional_number(deserializer).map(Option::unwrap_or_default)
}

/// A number, also written as text; null and empty text are `None`.
pub(crate) fn de_optional_number<'de, D: Deserializer<'de>, T: FromStr>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Number(PhantomData))
}

struct Flag;

impl Visitor<'_> for Flag {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number != 0))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number != 0))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text.trim() {
            "" => Ok(None),
            "true" | "True" | "TRUE" => Ok(Some(true)),
            "false" | "False" | "FALSE" => Ok(Some(false)),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}

/// A boolean, also written as text or as 0 and 1; null and empty text are false.
pub(crate) fn de_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    de_optional_bool(deserializer).map(Option::unwrap_or_default)
}

/// A boolean, also written as text or as 0 and 1; null and empty text are `None`.
pub(crate) fn de_optional_bool<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<bool>, D::Error> {
    deserializer.deserialize_any(Flag)
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or a boolean")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        // Always with a fraction, as the reference writes such a number.
        Ok(Some(format!("{number:?}")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(text))
    }
}

/// Text, also written as a number or a boolean; null is empty.
pub(crate) fn de_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    de_optional_text(deserializer).map(Option::unwrap_or_default)
}

/// Text, also written as a number or a boolean; null is `None`.
pub(crate) fn de_optional_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Sample {
        #[serde(deserialize_with = "de_number")]
        number: u64,
        #[serde(deserialize_with = "de_optional_number")]
        optional_number: Option<i32>,
        #[serde(deserialize_with = "de_bool")]
        flag: bool,
        #[serde(deserialize_with = "de_optional_bool")]
        optional_flag: Option<bool>,
        #[serde(deserialize_with = "de_text")]
        text: String,
        #[serde(deserialize_with = "de_optional_text")]
        optional_text: Option<String>,
    }

    fn read(value: Value) -> Result<Sample, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn numbers_are_read_from_text_and_text_from_numbers() {
        let sample = read(json!({
            "number": " 12 ", "optional_number": 3.9, "flag": "true", "optional_flag": 0, "text": 5, "optional_text": true,
        }))
        .expect("a sample");
        assert_eq!(
            sample,
            Sample {
                number: 12,
                optional_number: Some(3),
                flag: true,
                optional_flag: Some(false),
                text: "5".to_owned(),
                optional_text: Some("true".to_owned()),
            }
        );
        assert_eq!(read(json!({"text": 1.0})).expect("a sample").text, "1.0");
    }

    #[test]
    fn null_and_absence_are_the_default() {
        let nulls = json!({
            "number": null, "optional_number": "", "flag": null, "optional_flag": null, "text": null, "optional_text": null,
        });
        assert_eq!(read(nulls).expect("a sample"), Sample::default());
        assert_eq!(read(json!({})).expect("a sample"), Sample::default());
    }

    #[test]
    fn what_is_neither_is_refused() {
        for value in [
            json!({"number": "soon"}),
            json!({"number": -1}),
            json!({"optional_number": 5_000_000_000_u64}),
            json!({"flag": "yes"}),
            json!({"text": []}),
            json!({"optional_text": {}}),
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }
}
